# oe-core's image.bbclass from do_image on, over a root file system that no package manager lays out: a shell function does.
PACKAGE_INSTALL = ""
PACKAGE_INSTALL_ATTEMPTONLY = ""
IMAGE_FEATURES = ""
IMAGE_LINGUAS = ""
KERNELDEPMODDEPEND = ""
KERNEL_DEPLOY_DEPEND = ""
EXTRA_IMAGEDEPENDS = ""
LDCONFIGDEPEND = ""
IMAGE_ROOTFS_EXTRA_SPACE = "0"
ROOTFS_BOOTSTRAP_INSTALL = ""

inherit image

# What image.bbclass inherits late: no package manager and no SDK.
IMGCLASSES = "image_types ${IMAGE_CLASSES} image_types_wic rootfs-postcommands"
IMAGE_CLASSES:remove = "qemuboot"

fakeroot do_rootfs() {
    fake_rootfs
    touch ${IMAGE_MANIFEST}
}

deltask do_populate_sdk
deltask do_populate_lic_deploy

python () {
    # Neither the package manager nor what its post-processing needs.
    d.setVar('DEPENDS', '')
    for flag in ('depends', 'recrdeptask', 'deptask', 'rdeptask'):
        d.delVarFlag('do_rootfs', flag)
        d.delVarFlag('do_build', flag)
        if flag != 'depends':
            d.delVarFlag('do_image_wic', flag)
}
