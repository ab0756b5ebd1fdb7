"""Boots an image of the fixtures in QEMU and runs the layer's oeqa runtime cases on it, over the serial console.

    boot.py OECORE/meta/lib CASES.py DEPLOY_DIR_IMAGE IMAGE

testimage would do it over the network, for which it wants an image with ssh: the cases are the same, the target is ours.
"""

import importlib.util
import os
import subprocess
import sys
import threading
import types
import unittest
from pathlib import Path

# How long a boot may take, and a command, on a busy host.
DEADLINE_S = 300
PROMPT = "fixture: ready"


class Console:
    """A shell on the guest's serial console."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.timer = threading.Timer(DEADLINE_S, self.process.kill)
        self.timer.start()
        self.seen = []
        self.until(lambda line: PROMPT in line)

    def until(self, wanted):
        """Lines up to the one that is wanted, and that one."""
        lines = []
        for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip("\r\n")
            self.seen.append(line)
            lines.append(line)
            if wanted(line):
                return lines
        raise EOFError("the guest has stopped; it said:\n" + "\n".join(self.seen))

    def run(self, command, timeout=None):
        """As oeqa's targets: exit status and output."""
        # In two pieces, so that the echo of the command is not taken for its end.
        script = f"echo begin''-; {command}; echo end''-$?\n"
        self.process.stdin.write(script.encode())
        self.process.stdin.flush()
        self.until(lambda line: line.endswith("begin-"))
        lines = self.until(lambda line: "end-" in line)
        last, status = lines[-1].rsplit("end-", 1)
        return int(status), "\n".join(lines[:-1] + ([last] if last else []))

    def close(self):
        self.process.stdin.write(b"exit\n")
        self.process.stdin.flush()
        self.process.wait()
        self.timer.cancel()
        return self.process.returncode


def qemu(deploy, image):
    folder = deploy / f"{image}-qemuarm64.rootfs.initoverlayfs.d"
    disk = f"if=none,id=disk,format=raw,readonly=on,file={folder}/disk.img"
    return [
        "qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a72", "-m", "1024", "-nographic", "-no-reboot", "-nic", "none",
        "-kernel", deploy / "Image", "-initrd", folder / "initramfs.img", "-append", "console=ttyAMA0 panic=-1",
        "-drive", disk, "-device", "virtio-blk-pci,drive=disk",
    ]


def main(library, cases, deploy, image):
    sys.path[:0] = [library, str(Path(os.environ["BITBAKE"]) / "lib")]
    spec = importlib.util.spec_from_file_location("cases", cases)
    module = importlib.util.module_from_spec(spec)
    # oeqa asks for the file of a case.
    sys.modules["cases"] = module
    spec.loader.exec_module(module)
    console = Console(qemu(Path(deploy), image))
    # As testimage's loader sets them.
    module.InitoverlayfsTest.target = console
    module.InitoverlayfsTest.td = {"IMAGE_FSTYPES": "initoverlayfs"}
    module.InitoverlayfsTest.tc = types.SimpleNamespace(target=console, td=module.InitoverlayfsTest.td)
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(module.InitoverlayfsTest)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    print("\n".join(line for line in dict.fromkeys(console.seen) if line.startswith("[") and "initoverlayfs: " in line))
    if console.close() != 0 or not result.wasSuccessful() or result.skipped:
        sys.exit("boot.py: the image did not boot as it should")


if __name__ == "__main__":
    main(*sys.argv[1:])
