//! Images and folders signed, and what must not be.

use super::*;
use crate::manifest::{digest_file, hex};
use crate::verify;
use crate::verity::{self, tests};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A key and its certificate.
fn signer(folder: &TempDir, name: &str, algorithm: &str, subject: &str) -> Signer {
    let at = |end: &str| folder.path().join(format!("{name}{end}"));
    let output = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "3650", "-subj", subject, "-newkey"])
        .args(algorithm.split(' '))
        .arg("-keyout")
        .arg(at(".key"))
        .arg("-out")
        .arg(at(".pem"))
        .output()
        .expect("openssl: tests/setup/apt.sh test");
    assert!(output.status.success(), "{output:?}");
    Signer { key: at(".key").into(), certificate: at(".pem"), provider: None, engine: None }
}

const RSA: &str = "rsa:2048";
const ELLIPTIC: &str = "ec -pkeyopt ec_paramgen_curve:P-256";

fn image(folder: &TempDir, blocks: u32) -> PathBuf {
    let path = tests::sample(folder, blocks);
    verity::append(&path, &verity::Options { fec_roots: 2 }).unwrap();
    path
}

fn verified(path: &Path, signer: &Signer) -> Result<()> {
    let options = verify::Options { certificate: Some(signer.certificate.clone()), root_hash: None };
    verify::run(path, &options, &mut Vec::new())
}

#[test]
fn a_signature_is_the_certificates_and_of_this_root_hash() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (signer(&folder, "a", RSA, "/CN=a"), signer(&folder, "b", ELLIPTIC, "/CN=b"));
    let path = image(&folder, 130);
    assert!(verified(&path, &first).unwrap_err().what.contains("no signature"));
    let before = fs::read(&path).unwrap();
    for (right, wrong) in [(&first, &second), (&second, &first)] {
        let signed = run(&path, right).unwrap().remove(0).attached;
        assert_eq!(Image::open(&path).unwrap().attached, Some(signed.clone()));
        verified(&path, right).unwrap();
        let error = verified(&path, wrong).unwrap_err();
        assert!(error.what.contains("signer certificate not found") && error.exit_status() == 1, "{error}");
        let mut other = signed.summary.root_hash;
        other[31] ^= 1;
        assert_eq!(check(&other, &signed.signature, &right.certificate).unwrap_err().exit_status(), 1);
    }
    let mut after = fs::read(&path).unwrap();
    let trailer = 130 * 4096..131 * 4096;
    assert!(after != before);
    after[trailer.clone()].copy_from_slice(&before[trailer]);
    assert!(after == before, "only the trailer changes");
}

#[test]
fn another_key_of_the_same_name_is_no_match() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (signer(&folder, "a", RSA, "/CN=same"), signer(&folder, "b", RSA, "/CN=same"));
    let path = image(&folder, 1);
    let before = fs::read(&path).unwrap();
    let refused = |signer: &Signer, what: &str| {
        let error = run(&path, signer).unwrap_err();
        assert!(error.exit_status() == 2 && error.what.contains(what), "{error}");
        assert!(fs::read(&path).unwrap() == before);
    };
    refused(&Signer { key: second.key.clone(), ..first.clone() }, "is not the certificate of the key");
    refused(&Signer { key: first.certificate.clone().into(), ..first.clone() }, "openssl cannot sign: ");
    refused(&Signer { key: "none.key".into(), ..first.clone() }, "none.key");
    refused(&Signer { certificate: "none.pem".into(), ..first.clone() }, "none.pem");
    refused(&Signer { certificate: first.key.clone().into(), ..first.clone() }, "openssl cannot sign: ");
    // The name in the certificate becomes part of the signature.
    let long = signer(&folder, "long", ELLIPTIC, &format!("/OU={}", "x".repeat(60)).repeat(60));
    refused(&long, "does not fit");
    run(&path, &first).unwrap();
    verified(&path, &first).unwrap();
    assert_eq!(verified(&path, &second).unwrap_err().exit_status(), 1);
}

#[test]
fn nothing_is_signed_that_is_not_whole() {
    let folder = tempfile::tempdir().unwrap();
    let signer = signer(&folder, "a", ELLIPTIC, "/CN=a");
    assert!(run(&tests::sample(&folder, 2), &signer).unwrap_err().what.contains("no trailer"));
    let path = image(&folder, 130);
    tests::flip(&path, 77 * 4096, 1);
    let error = run(&path, &signer).unwrap_err();
    assert!(error.exit_status() == 1 && error.what.contains("byte 315392"), "{error}");
}

#[test]
fn a_key_in_a_token_is_left_to_openssl() {
    let signer = |key: &str, provider: Option<&str>, engine: Option<&str>| Signer {
        key: key.into(),
        certificate: "c".into(),
        provider: provider.map(Into::into),
        engine: engine.map(Into::into),
    };
    let options = |signer: Signer| signer.options().map(|options| options.join(std::ffi::OsStr::new(" ")));
    let uri = "pkcs11:token=keys;object=images";
    assert_eq!(options(signer(uri, None, None)).unwrap(), "-provider pkcs11 -provider default");
    assert_eq!(options(signer(uri, Some("tpm2"), None)).unwrap(), "-provider tpm2 -provider default");
    assert_eq!(options(signer(uri, None, Some("pkcs11"))).unwrap(), "-engine pkcs11 -keyform engine");
    assert_eq!(options(signer("0x81000001", Some("tpm2"), None)).unwrap(), "-provider tpm2 -provider default");
    assert!(options(signer("none.key", None, None)).is_err());
}

#[test]
fn a_token_that_cannot_be_reached_is_an_error_without_its_pin() {
    let folder = tempfile::tempdir().unwrap();
    let signer = signer(&folder, "a", ELLIPTIC, "/CN=a");
    let token = Signer { key: "pkcs11:object=none;pin-value=1234".into(), ..signer };
    let none = Some("none".into());
    for token in [Signer { provider: none.clone(), ..token.clone() }, Signer { engine: none, ..token }] {
        let error = openssl::sign(&[0; 32], &token).unwrap_err();
        assert!(error.exit_status() == 2 && error.what.contains("none"), "{error}");
        assert!(!error.what.contains("1234"), "{error}");
    }
}

#[test]
fn a_folder_is_signed_with_every_copy_on_its_disk() {
    let files = tempfile::tempdir().unwrap();
    let signer = signer(&files, "a", RSA, "/CN=a");
    let (same, other) = (image(&files, 300), image(&files, 20));
    let folder = files.path().join("out");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(manifest::INITRAMFS), "initramfs").unwrap();
    fs::copy(&same, folder.join(manifest::EROFS)).unwrap();
    let partition =
        |name: &str, image: &Path| disk::Partition { name: name.into(), uuid: None, image: image.to_owned() };
    let partitions = [partition("a", &same), partition("other", &other), partition("b", &same)];
    disk::write(&folder.join(manifest::DISK), &[1; 16], &partitions, &mut |_| ()).unwrap();
    let mut manifest = Manifest::example();
    for name in [manifest::INITRAMFS, manifest::EROFS, manifest::DISK] {
        manifest.note_file(&folder, name).unwrap();
    }
    manifest.write(&folder).unwrap();
    let slot = format!("a: partition PARTLABEL=a{}", crate::plan::ANY_SIGNED);
    let (plain, to) = (verify::Options::default(), files.path().join("to"));
    for (lines, is_refused) in [
        (vec![slot.clone()], true),
        (vec!["a: partition PARTLABEL=a, exactly this image".to_owned()], false),
        (vec![slot.replace("a: ", "a: rescue image, ")], false),
    ] {
        manifest.plan = lines;
        manifest.write(&folder).unwrap();
        let refused =
            [check_is_signed(&folder, &manifest, &manifest::IMAGES), verify::run(&folder, &plain, &mut Vec::new())];
        for result in refused.into_iter().chain([crate::install::run(&folder, &to, false).map(drop)]) {
            let text = result.err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(text.contains("nobody signed it") && text.contains("imagegen sign"), is_refused, "{text}");
        }
    }
    manifest.plan = vec![slot];
    manifest.write(&folder).unwrap();
    let before = fs::read(folder.join(manifest::DISK)).unwrap();

    let signed = run(&folder, &signer).unwrap().remove(0).attached;

    verified(&folder, &signer).unwrap();
    assert_eq!(verify::check_folder(&folder).unwrap(), 3);
    crate::install::run(&folder, &to, false).unwrap();
    let disk = fs::read(folder.join(manifest::DISK)).unwrap();
    let found = disk::list(&folder.join(manifest::DISK)).unwrap();
    for (partition, is_signed) in found.iter().zip([true, false, true]) {
        let bytes = partition.start as usize..(partition.start + partition.bytes) as usize;
        assert_eq!(disk[bytes.clone()] != before[bytes.clone()], is_signed, "{}", partition.name);
        let part = files.path().join(&partition.name);
        fs::write(&part, &disk[bytes]).unwrap();
        assert_eq!(verified(&part, &signer).is_ok(), is_signed);
        assert_eq!(Image::open(&part).unwrap().attached.unwrap() == signed, is_signed);
    }
    assert_eq!(disk.len(), before.len());
    assert_eq!(fs::read_to_string(folder.join(manifest::INITRAMFS)).unwrap(), "initramfs");
    let (_, sha256) = digest_file(&folder.join(manifest::EROFS)).unwrap();
    assert_eq!(manifest::read(&folder).unwrap().outputs[manifest::EROFS].sha256, hex(&sha256));

    tests::flip(&folder.join(manifest::DISK), 600, 1);
    assert!(verified(&folder, &signer).unwrap_err().what.contains("disk.img: not what manifest.json says"));
}

#[test]
fn the_rescue_image_of_a_folder_is_signed_too() {
    let files = tempfile::tempdir().unwrap();
    let signer = signer(&files, "a", RSA, "/CN=a");
    let (main, rescue) = (image(&files, 300), image(&files, 20));
    let folder = files.path().join("out");
    fs::create_dir(&folder).unwrap();
    fs::copy(&main, folder.join(manifest::EROFS)).unwrap();
    fs::copy(&rescue, folder.join(manifest::RESCUE)).unwrap();
    let partition =
        |name: &str, image: &Path| disk::Partition { name: name.into(), uuid: None, image: image.to_owned() };
    let partitions = [partition("a", &main), partition("r", &rescue)];
    disk::write(&folder.join(manifest::DISK), &[1; 16], &partitions, &mut |_| ()).unwrap();
    let mut manifest = Manifest::example();
    for name in [manifest::EROFS, manifest::RESCUE, manifest::DISK] {
        manifest.note_file(&folder, name).unwrap();
    }
    manifest.plan = vec![format!("r: {}partition PARTLABEL=r{}", crate::plan::RESCUE, crate::plan::ANY_SIGNED)];
    manifest.write(&folder).unwrap();
    let plain = verify::Options::default();
    let error = verify::run(&folder, &plain, &mut Vec::new()).unwrap_err();
    assert!(error.what.contains("rescue.erofs: nobody signed it"), "{error}");
    check_is_signed(&folder, &manifest, &[manifest::EROFS]).unwrap();

    let signed = run(&folder, &signer).unwrap();

    assert_eq!(signed.iter().filter_map(|signed| signed.name).collect::<Vec<_>>(), manifest::IMAGES);
    verified(&folder, &signer).unwrap();
    assert_eq!(verify::check_folder(&folder).unwrap(), 3);
    let disk = fs::read(folder.join(manifest::DISK)).unwrap();
    for (partition, name) in disk::list(&folder.join(manifest::DISK)).unwrap().iter().zip(manifest::IMAGES) {
        let image = fs::read(folder.join(name)).unwrap();
        assert!(disk[partition.start as usize..][..image.len()] == image, "{name}");
        verified(&folder.join(name), &signer).unwrap();
    }
    // Of a main image that only the initramfs has nothing vouches: the rescue image alone is signed.
    fs::copy(tests::sample(&files, 5), folder.join(manifest::EROFS)).unwrap();
    assert_eq!(run(&folder, &signer).unwrap().len(), 1);
}
