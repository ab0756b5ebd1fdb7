//! Man pages and shell completions, made from the definition of the command line: they cannot name what the program does not
//! take. `make documents` calls it; nothing of it runs where the program is used.

use super::Cli;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use imagegen::atomic::Output;
use imagegen::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// What stands in front of the examples in a command's help.
const EXAMPLE: &str = "Example:";
/// What every command does, in the words of a man page: title, then name and meaning.
const COMMON: [(&str, &[(&str, &str)]); 1] = [(
    "EXIT STATUS",
    &[
        ("0", "The work is done."),
        ("1", "The input may be right, but the work failed: no space, a missing tool, a boot that was too slow."),
        ("2", "The input is wrong: a board file, an image, the command line. Nothing was written."),
    ],
)];
/// What the program as a whole uses.
const PROGRAM: [(&str, &[(&str, &str)]); 2] = [
    (
        "ENVIRONMENT",
        &[
            ("INITOVERLAYFS_BOARDS", "Folder in which boards are looked up by name, in place of all others."),
            ("SOURCE_DATE_EPOCH", "Modification time of every file of an image, in seconds since 1970 (default 0)."),
        ],
    ),
    (
        "FILES",
        &[
            ("board-configs/", "Boards by name: in the working directory or above it, or above the program."),
            (
                "share/initoverlayfs/board-configs/",
                "The same where the program is installed; README.md there lists every key.",
            ),
            ("lib/initoverlayfs/bootstrap-ARCH", "What becomes /init: beside the program, or where it is installed."),
        ],
    ),
];

/// Writes `man/*.1` and `completions/*` into `dir`, which is made where it is missing.
///
/// # Errors
/// As the folder or a file cannot be written.
pub fn write(dir: &Path, date: &str) -> Result<()> {
    let command = || Cli::command().disable_help_subcommand(true);
    let man = folder(dir, "man")?;
    let mut root = command();
    root.build();
    page(&root, &man, date)?;
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        page(command, &man, date)?;
    }
    let completions = folder(dir, "completions")?;
    for (shell, name) in [(Shell::Bash, "imagegen.bash"), (Shell::Zsh, "_imagegen"), (Shell::Fish, "imagegen.fish")] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut visible(command()), "imagegen", &mut text);
        Output::at(&completions.join(name))?.write(&text)?;
    }
    Ok(())
}

fn folder(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::create_dir_all(&path).map_err(Error::io("make", &path))?;
    Ok(path)
}

/// The command without what its help does not show: shells would complete it.
fn visible(command: Command) -> Command {
    let shown: Vec<Command> = command.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let bare = Command::new("imagegen").version(env!("CARGO_PKG_VERSION"));
    bare.args(command.get_arguments().cloned()).subcommands(shown).disable_help_subcommand(true)
}

/// Writes the man page of one command.
fn page(command: &Command, folder: &Path, date: &str) -> Result<()> {
    let source = concat!("initoverlayfs ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).date(date).source(source).manual("initoverlayfs");
    let path = folder.join(man.get_filename());
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (notes, examples) = help.split_once(EXAMPLE).unwrap_or((&help, ""));
    let mut text = Vec::new();
    let rendered = (|| {
        man.render_title(&mut text)?;
        man.render_name_section(&mut text)?;
        man.render_synopsis_section(&mut text)?;
        man.render_description_section(&mut text)?;
        paragraphs(notes).to_writer(&mut text)?;
        man.render_options_section(&mut text)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut text)?;
            lists(&PROGRAM).to_writer(&mut text)?;
        }
        lists(&COMMON).to_writer(&mut text)?;
        verbatim(examples).to_writer(&mut text)?;
        see_also(command).to_writer(&mut text)
    })();
    rendered.map_err(Error::io("render", &path))?;
    // An empty line between two breaks is what mandoc warns of.
    let text = String::from_utf8_lossy(&text).replace("\n.br\n\n.br\n", "\n.sp\n");
    Output::at(&path)?.write(text.as_bytes())
}

fn paragraphs(notes: &str) -> Roff {
    let mut roff = Roff::new();
    for note in notes.split("\n\n").map(str::trim).filter(|note| !note.is_empty()) {
        roff.control("PP", []).text([roman(note)]);
    }
    roff
}

fn lists(sections: &[(&str, &[(&str, &str)])]) -> Roff {
    let mut roff = Roff::new();
    for (title, entries) in sections {
        roff.control("SH", [*title]);
        for (name, meaning) in *entries {
            roff.control("TP", []).text([bold(*name)]).text([roman(*meaning)]);
        }
    }
    roff
}

fn verbatim(examples: &str) -> Roff {
    let mut roff = Roff::new();
    let lines: Vec<&str> = examples.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if !lines.is_empty() {
        roff.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in lines {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff
}

fn see_also(command: &Command) -> Roff {
    let mut roff = Roff::new();
    let other = if command.has_subcommands() { "mkfs.erofs" } else { "imagegen" };
    roff.control("SH", ["SEE ALSO"]).text([bold(other), roman("(1)")]);
    roff
}
