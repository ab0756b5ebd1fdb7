"""What can be said of the layer without bitbake's server and oe-core: in seconds, so `make test` does it every time.

    check.py CHECK      one of the functions below; run by the python that tests/setup/yocto.sh prints

The `bb` library of PyPI is bitbake's own parser and the code that runs its tasks.
"""

import hashlib
import json
import os
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import types
from pathlib import Path

# The library's server parts, which are not in the package and not used.
for module in ("hashserv", "hashserv.client", "prserv", "prserv.serv", "layerindexlib", "codegen"):
    sys.modules.setdefault(module, types.ModuleType(module))

import bb.build
import bb.data
import bb.parse
import bb.siggen

# What shell functions say goes to the log, and is of interest only if a check fails.
logging.basicConfig(stream=sys.stderr)
bb.build.verboseShellLogging = True

HERE = Path(__file__).resolve().parents[2]
LAYER = HERE / "yocto-layer"
PROGRAMS = HERE / "target/release"
# Classes of oe-core that recipes inherit; what they do is not looked at.
STAND_INS = (
    "cargo", "cargo-update-recipe-crates", "core-image", "nopackages", "linux-kernel-base", "kernel-fit-image", "native",
    "nativesdk",
)


class Metadata:
    """A data store that knows the layer, stand-ins for oe-core's classes and the variables that oe-core sets."""

    def __init__(self, folder):
        self.folder = Path(folder)
        classes = self.folder / "stand-in/classes-recipe"
        classes.mkdir(parents=True)
        for name in STAND_INS:
            (classes / f"{name}.bbclass").write_text("")
        self.data = bb.data.init()
        bb.parse.init_parser(self.data)
        self.set(BBPATH=f"{LAYER}:{HERE / 'tests/yocto/layer'}:{self.folder / 'stand-in'}", TOPDIR=folder)
        self.set(BB_RUNFMT="run.{func}.{pid}", BB_LOGFMT="log.{task}.{pid}", BB_INVALIDCONF=False)
        bb.parse.siggen = bb.siggen.init(self.data)
        self.data.setVar("__bbclasstype", "recipe")

    def set(self, **values):
        for name, value in values.items():
            self.data.setVar(name, value)

    def parse(self, path):
        variants = bb.parse.handle(str(path), self.data)
        return variants[""]


def expect(condition, message):
    if not condition:
        sys.exit(f"check.py: {message}")


def configuration():
    """layer.conf parses, and says what it must."""
    with tempfile.TemporaryDirectory() as folder:
        metadata = Metadata(folder)
        metadata.set(LAYERDIR=str(LAYER), BBPATH="", BBFILES="")
        data = bb.parse.handle(str(LAYER / "conf/layer.conf"), metadata.data, include=True)
        expect(data.getVar("BBFILE_COLLECTIONS").split() == ["initoverlayfs"], "layer.conf: another collection")
        expect(data.getVar("LAYERSERIES_COMPAT_initoverlayfs") == "wrynose", "layer.conf: a release that nobody ran")
        # What yocto-check-layer asks of the texts.
        readme = (LAYER / "README.md").read_text().lower()
        for word in ("maintainer", "patch"):
            expect(word in readme, f"README.md of the layer does not say {word!r}")
        expect((LAYER / "SECURITY.md").read_text().strip(), "SECURITY.md of the layer is empty")


def recipes():
    """Every recipe parses, has a licence, and names only files that are there."""
    paths = sorted(LAYER.glob("recipes-*/*/*.bb"))
    expect(len(paths) >= 4, "the layer has lost recipes")
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            data = Metadata(folder).parse(path)
            expect(data.getVar("LICENSE") and data.getVar("SUMMARY"), f"{path}: LICENSE or SUMMARY is missing")
            for source in (data.getVar("INITOVERLAYFS_SOURCES") or "").split():
                expect((HERE / source).exists(), f"{path}: {source} is missing")
            for licence in re.findall(r"file://(LICENSE-\w+);md5=(\w+)", data.getVar("LIC_FILES_CHKSUM") or ""):
                digest = hashlib.md5((HERE / licence[0]).read_bytes()).hexdigest()
                expect(digest == licence[1], f"{path}: {licence[0]} has MD5 {digest}")
    members = tomllib.loads((HERE / "Cargo.toml").read_text())["workspace"]["members"]
    text = (LAYER / "recipes-core/initoverlayfs/initoverlayfs.inc").read_text()
    for member in members:
        expect(re.search(rf"\b{member}\b", text), f"initoverlayfs.inc: Cargo wants the manifest of {member}")


def crates():
    """The crates that bitbake fetches are those of Cargo.lock."""
    lock = tomllib.loads((HERE / "Cargo.lock").read_text())["package"]
    wanted = {(p["name"], p["version"]): p["checksum"] for p in lock if "source" in p}
    text = (LAYER / "recipes-core/initoverlayfs/imagegen-crates.inc").read_text()
    listed = set(re.findall(r"crate://crates\.io/([^/]+)/(\S+) ", text))
    hint = "run tests/yocto/run.sh crates"
    expect(listed == set(wanted), f"imagegen-crates.inc differs from Cargo.lock in {listed ^ set(wanted)}\n  {hint}")
    for (name, version), checksum in wanted.items():
        line = f'SRC_URI[{name}-{version}.sha256sum] = "{checksum}"'
        expect(line in text, f"imagegen-crates.inc: another checksum of {name} {version}\n  {hint}")


def lint():
    """The linter of OpenEmbedded recipes has nothing to say."""
    kinds = ("*.bb", "*.bbclass", "*.bbappend", "*.inc", "layer.conf")
    files = [path for kind in kinds for path in LAYER.rglob(kind) if not path.name.endswith("-crates.inc")]
    files = [str(path.relative_to(LAYER)) for path in sorted(files)]
    linter = Path(sys.executable).with_name("oelint-adv")
    command = [linter, "--quiet", "--relpaths", "--release", "wrynose", *files]
    # Its settings are those of the working directory.
    result = subprocess.run(command, cwd=LAYER, capture_output=True, text=True)
    expect(result.returncode == 0, f"oelint-adv:\n{result.stdout}{result.stderr}")


def image(**variables):
    """Runs the class as do_image_initoverlayfs would, on a small root file system; returns the manifest."""
    with tempfile.TemporaryDirectory() as folder:
        metadata = Metadata(folder)
        top = metadata.folder
        for name in ("rootfs/sbin", "rootfs/etc", "deploy", "native/initoverlayfs", "sysroot/usr/lib"):
            (top / name).mkdir(parents=True)
        # A static program of the board's architecture, which imagegen insists on.
        shutil.copy(PROGRAMS / "bootstrap-aarch64", top / "rootfs/sbin/init")
        os.symlink(HERE / "board-configs", top / "native/initoverlayfs/board-configs")
        os.symlink(PROGRAMS, top / "sysroot/usr/lib/initoverlayfs")
        (top / "mini.bb").write_text("inherit image_types_initoverlayfs\n")
        path = f"{PROGRAMS}:{os.environ['PATH']}:/usr/sbin:/sbin"
        metadata.set(T=f"{top}/temp", WORKDIR=str(top), B=str(top), PN="mini", MACHINE="qemuarm64", PATH=path)
        metadata.set(IMAGE_ROOTFS=f"{top}/rootfs", IMGDEPLOYDIR=f"{top}/deploy", IMAGE_NAME="mini")
        metadata.set(RECIPE_SYSROOT=f"{top}/sysroot", STAGING_DATADIR_NATIVE=f"{top}/native")
        metadata.set(nonarch_libdir="/usr/lib", nonarch_base_libdir="/lib", IMAGE_TYPES="", CONVERSIONTYPES="")
        metadata.data.setVarFlag("PATH", "export", "1")
        os.environ["PATH"] = path
        data = metadata.parse(top / "mini.bb")
        for name, value in variables.items():
            data.setVar(name, value.replace("@TOP@", str(top)))
        if "INITOVERLAYFS_KEY" in variables:
            make_key(top)
        expect("initoverlayfs" in data.getVar("IMAGE_TYPES").split(), "the class adds no image type")
        # image.bbclass makes a task of IMAGE_CMD in this way.
        task = "do_image_initoverlayfs"
        data.setVar(task, data.getVar("IMAGE_CMD:initoverlayfs"))
        data.setVarFlag(task, "func", "1")
        for function in data.getVarFlag(task, "prefuncs").split():
            bb.build.exec_func(function, data)
        bb.build.exec_func(task, data)
        deployed = top / "deploy/mini.initoverlayfs"
        superblock = deployed.read_bytes()[1024:1028]
        expect(superblock == bytes.fromhex("e2e1f5e0"), "what the type deploys is no EROFS image")
        for link, target in ((".initramfs", "initramfs.img"), (".json", "manifest.json")):
            expect(Path(f"{deployed}{link}").samefile(f"{deployed}.d/{target}"), f"{link} is not {target}")
        expect(deployed.stat().st_mode & 0o777 == 0o644, "the image cannot be read by others")
        return json.loads(Path(f"{deployed}.json").read_text())


def make_key(top):
    command = "openssl req -x509 -newkey rsa:2048 -sha256 -nodes -days 2 -subj /CN=check -keyout key.pem -out key.crt"
    subprocess.run(command.split(), cwd=top, check=True, capture_output=True)


def image_type():
    """The layer's own board, plain."""
    manifest = image()
    expect(manifest["board"]["name"] == "qemuarm64", f"another board: {manifest['board']}")
    expect("disk.img" in manifest["outputs"], "no disk for QEMU")


def image_verity():
    """A root hash, by a variable alone; no path of this host in the manifest."""
    manifest = image(INITOVERLAYFS_VERITY="root-hash", INITOVERLAYFS_BOARD_EXTRA="overlay.size = \"32MiB\"")
    plan = "\n".join(manifest["plan"])
    expect("root hash" in plan and "32" in plan, f"the variables did not reach the plan:\n{plan}")
    again = image(INITOVERLAYFS_VERITY="root-hash", INITOVERLAYFS_BOARD_EXTRA="overlay.size = \"32MiB\"")
    expect(manifest == again, "two builds in two folders differ")


def image_signed():
    """Signed and verified, by variables alone; half of them is refused."""
    key, certificate = "@TOP@/key.pem", "@TOP@/key.crt"
    manifest = image(INITOVERLAYFS_VERITY="signature", INITOVERLAYFS_KEY=key, INITOVERLAYFS_CERTIFICATE=certificate)
    expect("signed" in "\n".join(manifest["plan"]), f"the plan wants no signature: {manifest['plan']}")
    try:
        image(INITOVERLAYFS_VERITY="signature", INITOVERLAYFS_KEY=key)
    except bb.BBHandledException:
        return
    sys.exit("check.py: a key without a certificate was taken")


CHECKS = (configuration, recipes, crates, lint, image_type, image_verity, image_signed)

if __name__ == "__main__":
    checks = {check.__name__: check for check in CHECKS}
    if len(sys.argv) != 2 or sys.argv[1] not in checks:
        sys.exit(f"usage: check.py {'|'.join(checks)}")
    checks[sys.argv[1]]()
