# How the machine's image is made. Sourced by build, which runs it in a mount and process namespace of its own:
# whatever is mounted or started here ends with it, however it ends, and no clean-up can ever walk through a mount.
# shellcheck shell=bash

readonly SUITE=trixie
# Apparent size of the root disk; it is sparse. PostgreSQL and pools in files have the rest of it to write to.
readonly DISK_SIZE=20G

# inside ROOT COMMAND...
inside() {
	local root=$1
	shift
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
		${http_proxy:+http_proxy="$http_proxy"} chroot "$root" "$@"
}

install_in() {
	local root=$1
	shift
	inside "$root" apt-get install "$@"
}

# Contrib holds OpenZFS. Without a mirror debootstrap takes its own default.
step_base() {
	debootstrap --variant=minbase --components=main,contrib --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
		"$SUITE" base ${MIRROR:+"$MIRROR"}
	# No documentation, no fsync for a tree that is thrown away when anything fails, no daemon started in a chroot.
	cat >base/etc/dpkg/dpkg.cfg.d/lab <<-'END'
		force-unsafe-io
		path-exclude=/usr/share/doc/*
		path-exclude=/usr/share/man/*
		path-exclude=/usr/share/info/*
		path-exclude=/usr/share/locale/*
		path-exclude=/usr/share/lintian/*
	END
	cat >base/etc/apt/apt.conf.d/lab <<-'END'
		APT::Get::Assume-Yes "true";
		APT::Install-Recommends "false";
		Acquire::Languages "none";
		Acquire::Retries "3";
	END
	printf '#!/bin/sh\nexit 101\n' >base/usr/sbin/policy-rc.d
	chmod 755 base/usr/sbin/policy-rc.d
	# Tests make their own clusters; Debian's would cost 40 MB and be in the way.
	mkdir -p base/etc/postgresql-common
	echo 'create_main_cluster = false' >base/etc/postgresql-common/createcluster.conf
	inside base apt-get clean
	cp -a base builder
	mv base root
	mount -t proc proc root/proc
	mount -t proc proc builder/proc
}

step_packages() {
	local packages
	mapfile -t packages < <(sed 's/#.*//; /^[[:space:]]*$/d' "$RECIPE/packages")
	install_in root "${packages[@]}"
}

# OpenZFS is compiled in a tree beside the machine's: compiler, headers and what they need never enter the image.
# The headers bring the kernel itself along; installing zfs-dkms builds the module for it.
# Without hooks for the function tracer: at load the kernel checks each of a module's hooks by a linear search in all
# of its symbols, which for zfs took 4.5 of the 9 emulated seconds of a start.
step_kernel() {
	install_in builder linux-headers-cloud-amd64 zstd cpio busybox-static
	inside builder env MAKEFLAGS=CC_FLAGS_FTRACE= apt-get install zfs-dkms
	local modules
	modules=$(cd builder/usr/lib/modules && echo *)
	mkdir -p root/usr/lib/modules
	[[ -f builder/usr/lib/modules/$modules/updates/dkms/zfs.ko.xz ]] || {
		cat builder/var/lib/dkms/zfs/*/build/make.log || true
		return 1
	}
	cp -a "builder/usr/lib/modules/$modules" root/usr/lib/modules/
	unpack_kernel "builder/boot/vmlinuz-$modules" kernel
}

# unpack_kernel VMLINUZ TARGET: to unpack itself takes a kernel a second of each emulated start, and QEMU can start it
# as it is (PVH). One that is packed in a way unknown here stays as it is: QEMU takes that too.
unpack_kernel() {
	local offset
	for offset in $(LC_ALL=C grep -abo $'\x28\xb5\x2f\xfd' "$1" | cut -d : -f 1); do
		tail -c "+$((offset + 1))" "$1" | inside builder zstd -dc 2>/dev/null >"$2" || true # what follows it is not zstd
		[[ $(head -c 4 "$2" | tr -d '\0') == $'\x7fELF' ]] && return
	done
	cp "$1" "$2"
}

# Modules are loaded at every start, and emulated xz is slow: those that a machine may load are kept unpacked, the rest is dropped.
step_modules() {
	local tree all=$PWD/modules patterns pattern module dependencies
	mapfile -t patterns < <(sed 's/#.*//; /^[[:space:]]*$/d; s/$/.ko.xz/' "$RECIPE/modules")
	tree=$(echo root/usr/lib/modules/*)
	mv "$tree" "$all"
	mkdir "$tree"
	cp "$all"/modules.{order,builtin,builtin.modinfo} "$tree/"
	while IFS=' ' read -r module dependencies; do
		module=${module%:}
		for pattern in "${patterns[@]}"; do
			# shellcheck disable=SC2053 # a pattern on purpose
			[[ $module == $pattern ]] || continue
			# shellcheck disable=SC2086 # a list on purpose
			(cd "$all" && cp --parents "$module" $dependencies "$OLDPWD/$tree/")
			break
		done
	done <"$all/modules.dep"
	find "$tree" -name '*.ko.xz' -exec xz -d {} +
	depmod -b root -w "${tree##*/}"
}

# The kernel has no driver for virtio disks built in. (It has one for NVMe, but QEMU cannot save a machine with NVMe.)
step_initrd() {
	mkdir -p initrd/{bin,proc,sys,dev,root}
	cp builder/usr/bin/busybox initrd/bin/
	cp root/usr/lib/modules/*/kernel/drivers/block/virtio_blk.ko initrd/
	install -m 755 "$RECIPE/boot" initrd/init
	mv initrd builder/
	inside builder sh -c 'cd initrd && find . | cpio --quiet -o -H newc' >initrd.img
}

step_slim() {
	umount root/proc
	# Just-in-time compilation is the only user of LLVM (150 MB). PostgreSQL does without if the provider's file is missing.
	rm -rf root/usr/lib/postgresql/*/lib/llvmjit* root/usr/lib/postgresql/*/lib/bitcode
	rm -f root/usr/lib/x86_64-linux-gnu/lib{LLVM,z3}*
	rm -rf root/usr/share/{doc,man,info,locale,i18n,lintian,bash-completion,common-licenses,icons,pixmaps}
	rm -rf root/var/lib/apt/lists/* root/var/cache/* root/var/log/* root/boot/* root/usr/sbin/policy-rc.d root/tmp/*
	find root/usr/lib -name '*.a' -delete
	find root/usr/lib -name __pycache__ -prune -exec rm -rf {} +
	# The device files of debootstrap: the machine has devtmpfs.
	find root/dev -mindepth 1 -delete
	mkdir -p root/lab
	printf '127.0.0.1 localhost lab\n::1 localhost\n' >root/etc/hosts
	echo lab >root/etc/hostname
	: >root/etc/resolv.conf
	inside root dpkg-query -W -f '${Package} ${Version}\n' >packages.txt
}

# No journal, no checksums: the file system lives for one start and is copied on write by QEMU.
step_image() {
	truncate -s "$DISK_SIZE" root.img
	mkfs.ext4 -q -d root -m 0 -i 65536 -L lab -O '^has_journal,^metadata_csum,^resize_inode' \
		-E lazy_itable_init=1,nodiscard root.img
}
