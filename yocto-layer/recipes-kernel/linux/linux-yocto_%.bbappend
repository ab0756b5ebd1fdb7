require ${@bb.utils.contains('DISTRO_FEATURES', 'initoverlayfs', '${BPN}_initoverlayfs.inc', '', d)}
