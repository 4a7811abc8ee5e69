# Builds the lab's QEMU inside of a throw-away Debian tree. Run by `sh -ex` in /build, where Debian's
# source package, our patches and the other files of this directory lie.

ln -sf mawk /usr/bin/awk
dpkg-source --extract ./*.dsc qemu
cat ./*.patch >all.patch
cd qemu
patch -p1 --forward --fuzz=0 <../all.patch
mv ../nicproof.mak configs/devices/x86_64-softmmu/
mkdir nicproof
cd nicproof
# Debian's alternatives, such as cc, are not set up in a tree that was only unpacked.
../configure \
    --target-list=x86_64-softmmu --with-devices-x86_64=nicproof \
    --without-default-features --without-default-devices --enable-trace-backends=nop \
    --enable-tcg --enable-kvm --enable-slirp --enable-avx2 \
    --disable-download --disable-debug-info --disable-install-blobs \
    --cc=/build/cc.sh --host-cc=gcc
ninja config-poison.h
python3 /build/precompile.py
ninja -j "$(nproc)" qemu-system-x86_64
