//! Yocto tier: the layer by bitbake's own parser and its linter, always; bitbake itself where OECORE and BITBAKE name checkouts.

use std::process::Command;
use tests::kernel::checkout;

/// Runs a script of the tests, and shows what it said if it failed.
fn run(command: &mut Command) -> String {
    let output = command.current_dir(checkout()).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}:\n{}{}", said(&output.stdout), said(&output.stderr));
    said(&output.stdout)
}

fn check(name: &str) {
    let python = run(&mut Command::new("tests/setup/yocto.sh"));
    run(Command::new(python.trim_end()).args(["tests/yocto/check.py", name]));
}

#[test]
fn the_configuration_parses_and_says_what_a_layer_must() {
    check("configuration");
}

#[test]
fn every_recipe_parses_and_names_files_that_are_there() {
    check("recipes");
}

#[test]
fn the_crates_are_those_of_the_lock_file() {
    check("crates");
}

#[test]
fn the_linter_of_recipes_has_nothing_to_say() {
    check("lint");
}

#[test]
fn the_image_type_deploys_an_image_for_the_layers_board() {
    check("image_type");
}

#[test]
fn a_variable_turns_verification_on_and_no_path_gets_into_the_manifest() {
    check("image_verity");
}

#[test]
fn a_key_and_a_certificate_sign_and_half_of_them_is_refused() {
    check("image_signed");
}

#[test]
#[ignore = "bitbake itself: OECORE and BITBAKE are not set"]
fn bitbake_parses_builds_and_boots() {
    println!("{}", run(&mut Command::new("tests/yocto/run.sh")));
}
