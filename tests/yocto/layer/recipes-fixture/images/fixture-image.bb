SUMMARY = "The image type, with the modules of a stock kernel"

require fixture.inc

INITOVERLAYFS_BOARD = "fixture"
