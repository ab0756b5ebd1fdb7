"""The image type from outside: what it deploys, and what its variables change. oe-selftest -r initoverlayfs"""

import hashlib
import json
import os
import struct

from oeqa.selftest.case import OESelftestTestCase
from oeqa.utils.commands import bitbake, get_bb_var, get_bb_vars

EROFS_MAGIC = 0xE0F5E1E2
SUPERBLOCK = 1024


class InitoverlayfsTests(OESelftestTestCase):
    """One image recipe, INITOVERLAYFS_SELFTEST_IMAGE, built with different variables."""

    def setUpLocal(self):
        super().setUpLocal()
        self.image = get_bb_var("INITOVERLAYFS_SELFTEST_IMAGE") or "initoverlayfs-example-image"

    def deployed(self):
        names = get_bb_vars(["DEPLOY_DIR_IMAGE", "IMAGE_LINK_NAME"], self.image)
        path = os.path.join(names["DEPLOY_DIR_IMAGE"], names["IMAGE_LINK_NAME"] + ".initoverlayfs")
        with open(path + ".json") as f:
            return path, json.load(f)

    def test_outputs(self):
        bitbake(self.image)
        path, manifest = self.deployed()
        with open(path, "rb") as f:
            f.seek(SUPERBLOCK)
            self.assertEqual(struct.unpack("<I", f.read(4))[0], EROFS_MAGIC)
        for name, output in manifest["outputs"].items():
            with open(os.path.join(path + ".d", name), "rb") as f:
                self.assertEqual(hashlib.file_digest(f, "sha256").hexdigest(), output["sha256"], name)
        self.assertTrue(os.path.samefile(path + ".initramfs", path + ".d/initramfs.img"))

    def test_verity_by_a_variable(self):
        self.write_config('INITOVERLAYFS_VERITY = "root-hash"')
        bitbake(self.image)
        _, manifest = self.deployed()
        self.assertIn("root hash", "\n".join(manifest["plan"]))

    def test_a_key_without_a_certificate(self):
        self.write_config('INITOVERLAYFS_KEY = "key.pem"\nINITOVERLAYFS_CERTIFICATE = ""')
        result = bitbake(self.image, ignore_status=True)
        self.assertNotEqual(result.status, 0)
        self.assertIn("INITOVERLAYFS_KEY and INITOVERLAYFS_CERTIFICATE go together", result.output)
