# Two commands set everything up on a fresh Debian machine: `make demo` and `make test`. Both say what they install
# before they do it, and work offline from the second run on.
ARCHITECTURES := aarch64 armv7 x86_64
PROGRAMS := $(foreach program,bootstrap bootstrap-full run-init,$(ARCHITECTURES:%=target/release/$(program)-%))
export INITOVERLAYFS_CACHE ?= $(CURDIR)/.cache

# What is built needs what is installed, also with make -j.
.NOTPARALLEL:
.PHONY: demo test unit boot debian yocto fault soak bench bench-peers fuzz bootstrap imagegen setup-test setup-demo setup-fuzz setup-bench lint clean
.PHONY: documents install install-hooks deb

setup-test setup-demo setup-fuzz setup-bench: setup-%:
	@tests/setup/apt.sh $*

bootstrap: $(PROGRAMS)

# Cargo decides whether anything is to be done.
.PHONY: $(PROGRAMS)
# NAME-ARCH: the last dash divides.
$(PROGRAMS): target/release/%:
	@mkdir -p target/release
	@built=$$(tests/setup/program.sh $$(echo $* | sed "s/-\([^-]*\)$$/ \1/")) && cp "$$built" $@.part && mv $@.part $@

imagegen:
	@cargo build --release --locked --quiet --package imagegen

# Where `make install` puts the tool: below $(DESTDIR)$(PREFIX).
PREFIX ?= /usr/local
# When the sources last changed: the date of man pages and package.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2> /dev/null || echo 0)
export SOURCE_DATE_EPOCH

# Man pages and shell completions, from the definition of the command line.
documents: imagegen
	@target/release/imagegen documents target/documents --date "$$(date -u -d @$$SOURCE_DATE_EPOCH +%F)"

INSTALL := install -D -m
install: bootstrap imagegen documents
	@set -e; to="$(DESTDIR)$(PREFIX)"; \
	$(INSTALL) 0755 target/release/imagegen "$$to/bin/imagegen"; \
	for program in $(notdir $(PROGRAMS)); do $(INSTALL) 0755 target/release/$$program "$$to/lib/initoverlayfs/$$program"; done; \
	for file in $$(cd board-configs && find . -type f); do \
		$(INSTALL) 0644 "board-configs/$$file" "$$to/share/initoverlayfs/board-configs/$$file"; \
	done; \
	for page in target/documents/man/*; do $(INSTALL) 0644 "$$page" "$$to/share/man/man1/$$(basename "$$page")"; done; \
	$(INSTALL) 0644 target/documents/completions/imagegen.bash "$$to/share/bash-completion/completions/imagegen"; \
	$(INSTALL) 0644 target/documents/completions/_imagegen "$$to/share/zsh/vendor-completions/_imagegen"; \
	$(INSTALL) 0644 target/documents/completions/imagegen.fish "$$to/share/fish/vendor_completions.d/imagegen.fish"

# What kernel packages, initramfs builders and bootloaders call: `imagegen install` for each kernel, if the system has a board.
HOOKS := kernel-install/95-initoverlayfs.install=/usr/lib/kernel/install.d/95-initoverlayfs.install \
	kernel/postinst.d/zy-initoverlayfs=/etc/kernel/postinst.d/zy-initoverlayfs \
	kernel/postrm.d/zy-initoverlayfs=/etc/kernel/postrm.d/zy-initoverlayfs \
	initramfs-tools/initoverlayfs=/etc/initramfs/post-update.d/initoverlayfs \
	mkinitcpio/initoverlayfs=/usr/lib/initcpio/post/initoverlayfs \
	grub/09_initoverlayfs=/etc/grub.d/09_initoverlayfs
# Mode `service`: a module of dracut, which nobody gets who does not ask for it.
DRACUT_MODULE := 90initoverlayfs
DRACUT_UNITS := initoverlayfs.service initoverlayfs-switch.service initoverlayfs-switch.target
install-hooks:
	@install -d "$(DESTDIR)/etc/initoverlayfs"
	@set -e; for hook in $(HOOKS); do $(INSTALL) 0755 "imagegen/distribution/$${hook%=*}" "$(DESTDIR)$${hook#*=}"; done
	@set -e; for file in module-setup.sh $(DRACUT_UNITS); do \
		case $$file in *.sh) mode=0755 ;; *) mode=0644 ;; esac; \
		$(INSTALL) $$mode "imagegen/distribution/dracut/$(DRACUT_MODULE)/$$file" "$(DESTDIR)/usr/lib/dracut/modules.d/$(DRACUT_MODULE)/$$file"; \
	done

# A Debian package of both, for this machine's architecture, in target/debian.
deb: bootstrap imagegen documents
	@rm -rf target/debian/tree
	@$(MAKE) --no-print-directory install install-hooks DESTDIR=target/debian/tree PREFIX=/usr
	@rm -r target/debian/tree/usr/lib/initcpio
	@imagegen/distribution/debian.sh target/debian/tree target/debian

# One call of cargo, so that nothing is built twice.
demo: setup-demo
	@tests/setup/demo.sh target/demo
	@echo "building imagegen, bootstrap and the demo (a minute or two, the first time)"
	@cargo build --release --locked --quiet --package imagegen --package tests --bin imagegen --bin demo
	@$(MAKE) --no-print-directory target/release/bootstrap-aarch64
	@tests/setup/program.sh guest aarch64 > /dev/null
	@target/release/demo

# All tests: pure logic on the host, boots of real kernels, every failure once, the Yocto layer.
test: setup-test bootstrap imagegen
	@tests/setup/kernels.sh > /dev/null
	@tests/setup/labgrid.sh > /dev/null
	@tests/setup/run.sh unit boot fault yocto

# Every failure with every kernel and source it makes sense for, into target/fault.json, and 200 power cuts during an
# installation; an hour or more on two cores.
fault: setup-test bootstrap imagegen
	@tests/setup/kernels.sh > /dev/null
	@FAULT_MATRIX=1 POWER_CUTS=$${POWER_CUTS:-200} tests/setup/run.sh fault power

# A thousand boots drawn from that matrix, into target/soak.json.
soak: setup-test bootstrap
	@tests/setup/kernels.sh > /dev/null
	@FAULT_SOAK=$${FAULT_SOAK:-1000} tests/setup/run.sh fault

# Debian 13 with our package, from its installation to its removal: arm64 and amd64, with initramfs-tools and with dracut.
debian: setup-test bootstrap imagegen
	@tests/setup/kernels.sh > /dev/null
	@tests/setup/run.sh debian

# Every figure of the README: prints the tables, writes target/bench.json.
bench: setup-test bootstrap imagegen
	@tests/setup/kernels.sh > /dev/null
	@cargo run --release --locked --quiet --package tests --bin bench

# The same content booted by ours and by every other way, side by side, each in its turn; writes target/peers.json and peers.svg, and what
# was read for what is used: target/profile.json and profile.svg. About an hour on an idle machine, and ten minutes more the first time,
# for the Debian that is booted. For a part of it, without make: target/release/peers system|sweep, with PEERS_RUNS (boots of each),
# PEERS_ONLY and PEERS_STORAGE (parts of names, or whole ones behind `=`, with semicolons between) and PEERS_MINUTES (no round of boots
# ends later); target/release/peers keep takes all of it to where the README shows it from.
bench-peers: setup-test setup-bench bootstrap imagegen
	@tests/setup/kernels.sh > /dev/null
	@cargo run --release --locked --quiet --package tests --bin peers

unit boot yocto: bootstrap imagegen
	@tests/setup/run.sh $@

# Any bytes at every parser, FUZZ_SECONDS (60) each; what a run learns stays in tests/fuzz/target.
fuzz: setup-fuzz
	@tests/setup/fuzz.sh

lint:
	cargo fmt --check
	cargo clippy --quiet --locked --all-targets -- -D warnings
	@# Programs without std, which no other target builds.
	cargo clippy --quiet --locked --package bootstrap --features program --profile bootstrap --bin bootstrap-full -- -D warnings
	cargo clippy --quiet --locked --package bootstrap --no-default-features --features program --profile bootstrap --bin bootstrap -- -D warnings
	cargo clippy --quiet --locked --package bootstrap --no-default-features --features program --profile bootstrap --bin run-init -- -D warnings
	cargo clippy --quiet --locked --package bootstrap --no-default-features --features program,planted --profile bootstrap --bin bootstrap-planted -- -D warnings

clean:
	rm -rf target
