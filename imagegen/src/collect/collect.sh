# What `imagegen collect` runs on a machine to learn how it booted. It reads and writes nothing but its standard output, and needs no
# more than busybox has. Every line it writes begins with `@` (a section) or a space (a line of it): whatever else comes
# through the line is noise. Set in front of it: units, journal.
text() { sed 's/^/ /'; }
lacks() { printf '@lacks\n %s\n' "$1"; }
if printf x | od -An -v -tx1 > /dev/null 2>&1; then
    hex() { od -An -v -tx1 | tr -d ' \n'; }
elif printf x | hexdump -v -e '1/1 "%02x"' > /dev/null 2>&1; then
    hex() { hexdump -v -e '1/1 "%02x"'; }
else
    hex() { xxd -p | tr -d '\n'; }
fi
# one SECTION FILE: its words on one line.
one() {
    [ ! -r "$2" ] || printf '@%s\n %s\n' "$1" "$(tr -d '\000' < "$2" 2> /dev/null)"
}

printf '@imagegen-collect\n 1\n'
printf '@kernel\n %s\n' "$(uname -r)"
one command-line /proc/cmdline
tree=
for folder in /proc/device-tree /sys/firmware/devicetree/base; do
    [ -n "$tree" ] || [ ! -d "$folder" ] || tree=$folder
done
if [ -n "$tree" ]; then one model "$tree/model"; else one model /sys/class/dmi/id/product_name; fi

record=/run/initoverlayfs/record
if [ -r "$record" ]; then
    printf '@record\n %s\n' "$(hex < "$record")"
else
    lacks "the record: no $record"
fi

if [ -n "$tree" ] && [ -d "$tree/bootstage" ]; then
    printf '@bootstage\n'
    for stage in "$tree"/bootstage/*/; do
        for kind in mark accum; do
            [ ! -r "$stage$kind" ] || printf ' %s %s %s\n' "$kind" "$(hex < "$stage$kind")" "$(hex < "${stage}name")"
        done
    done
else
    lacks "bootstage: U-Boot left none in the device tree (CONFIG_BOOTSTAGE_FDT)"
fi

log=$(dmesg -r 2> /dev/null || dmesg 2> /dev/null)
if [ -n "$log" ]; then
    printf '@log\n'
    printf '%s\n' "$log" | text
else
    lacks "the kernel log: dmesg says nothing; it may be root's alone"
fi

if systemctl show --property=Version > /dev/null 2>&1; then
    printf '@systemd\n'
    for name in Firmware Loader Kernel InitRD Userspace Finish; do
        systemctl show --property="${name}TimestampMonotonic"
    done | text
    printf '@systemd-analyze\n'
    systemd-analyze time 2> /dev/null | text
    properties=Id,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic
    printf '@units\n'
    # Asked for by name first: also one that is not loaded answers then.
    eval "systemctl show --property=$properties -- $units '*.service' '*.target'" 2> /dev/null | text
    if [ "$journal" = 1 ]; then
        printf '@journal\n'
        # What is not the kernel's, whose lines have another clock. journal+stdout+syslog: all that programs say.
        journalctl --boot --no-pager --quiet --output=short-monotonic \
            _TRANSPORT=journal + _TRANSPORT=stdout + _TRANSPORT=syslog 2> /dev/null | text
    fi
else
    lacks "systemd's times: no systemctl, or systemd is not running"
fi
printf '@end\n'
