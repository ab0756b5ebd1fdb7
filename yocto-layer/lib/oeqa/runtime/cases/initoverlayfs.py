"""On the board: that it booted through initoverlayfs, and not some other way. TEST_SUITES += "initoverlayfs"."""

from oeqa.runtime.case import OERuntimeTestCase


class InitoverlayfsTest(OERuntimeTestCase):
    """What bootstrap leaves behind before it becomes the next init."""

    def output_of(self, command):
        status, output = self.target.run(command)
        self.assertEqual(status, 0, msg="%s: %s" % (command, output))
        return output

    def test_record(self):
        magic = self.output_of("head -c 4 /run/initoverlayfs/record")
        self.assertEqual(magic, "IOFR", msg="/run/initoverlayfs/record is no record")

    def test_steps(self):
        log = self.output_of("dmesg | grep 'initoverlayfs: '")
        for step in ("mount", "overlay", "switch-root"):
            self.assertRegex(log, r"initoverlayfs: %s \d+ us" % step)
        self.assertNotIn(" failed: ", log)

    def test_root_is_the_overlay(self):
        if "initoverlayfs" not in self.td["IMAGE_FSTYPES"].split():
            self.skipTest("the image went on to another root file system")
        mounts = self.output_of("cat /proc/mounts")
        roots = [line.split() for line in mounts.splitlines() if line.split()[1] == "/"]
        self.assertEqual(roots[-1][2], "overlay", msg=mounts)
