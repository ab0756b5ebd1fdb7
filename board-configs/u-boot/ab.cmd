# Boots slot a; slot b after three tries of a that nobody called good; then the slot called rescue. A script for U-Boot:
#
#   mkimage -A arm64 -T script -d ab.cmd boot.scr
#
# It boots image.itb, which `imagegen build` makes for a board with emit = ["fit"]; the arguments below replace those in it.
#
# The counters lie in the first sector of the partition `tries`, as an environment with its checksum: one sector is written
# whole or not at all. A system that finds itself healthy sets its own counter back (fw_setenv with that sector as its
# environment, size 0x200); nothing here does, and bootstrap never does. `board_args` is the board's part of the kernel
# command line, set before or kept in the environment.
setenv tries_a 3
setenv tries_b 3
part start ${devtype} ${devnum} tries sector
${devtype} read ${scriptaddr} ${sector} 1 && env import -c ${scriptaddr} 0x200 tries_a tries_b
setenv slot rescue
if test ${tries_b} -gt 0; then setenv slot b; fi
if test ${tries_a} -gt 0; then setenv slot a; fi
if test ${slot} = a; then setexpr tries_a ${tries_a} - 1; fi
if test ${slot} = b; then setexpr tries_b ${tries_b} - 1; fi
env export -c -s 0x200 ${scriptaddr} tries_a tries_b && ${devtype} write ${scriptaddr} ${sector} 1
setenv bootargs ${board_args} initoverlayfs.slot=${slot}
load ${devtype} ${devnum}:${distro_bootpart} ${ramdisk_addr_r} image.itb && bootm ${ramdisk_addr_r}
