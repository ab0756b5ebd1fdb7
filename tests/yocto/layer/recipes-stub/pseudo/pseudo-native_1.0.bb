SUMMARY = "Provides virtual/fakeroot-native, which cannot be assumed; the program is Debian's"
DESCRIPTION = "${SUMMARY}."
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

INHIBIT_DEFAULT_DEPS = "1"
PROVIDES += "virtual/fakeroot-native"

inherit native
