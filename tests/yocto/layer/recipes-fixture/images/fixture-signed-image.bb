SUMMARY = "The image type, verified by a signature: all by variables"

require fixture.inc

INITOVERLAYFS_BOARD = "fixture"
INITOVERLAYFS_VERITY = "signature"
INITOVERLAYFS_KEY = "${FIXTURE_KEYS}/key.pem"
INITOVERLAYFS_CERTIFICATE = "${FIXTURE_KEYS}/certificate.pem"
