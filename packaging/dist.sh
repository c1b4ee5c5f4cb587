#!/bin/sh
# The binary to ship: fat LTO, stripped, and optimised by a profile of what a node does (bench/train.py). The compiler is
# told which of its branches are taken and which functions are hot: a proxied request costs a sixth less, and what is
# cold is made small. Builds twice, about eight minutes. Leaves target/TRIPLE/dist/keepgate.
set -eu
cd "$(dirname "$0")/.."
triple=x86_64-unknown-linux-gnu
work=$PWD/target/instrumented
merge=$(rustc --print target-libdir --target "$triple")/../bin/llvm-profdata
if [ ! -x "$merge" ]; then
  rustup component add llvm-tools || {
    echo "packaging/dist.sh: there is no llvm-profdata beside this compiler, and rustup cannot install it: install the component llvm-tools" >&2
    exit 1
  }
fi
build() {
  # Added to the flags of .cargo/config.toml, which RUSTFLAGS would take the place of.
  flag=$1
  shift
  cargo build --profile dist --bin keepgate --config "target.$triple.rustflags=['-C$flag']" "$@"
}
build "profile-generate=$work/raw" --target-dir "$work"
rm -rf "$work/raw"
python3 bench/train.py "$work/$triple/dist/keepgate"
"$merge" merge -o "$work/new.profdata" "$work"/raw/*.profraw
# By its content, for cargo builds anew only if a flag changes.
profile=$work/$(sha256sum "$work/new.profdata" | cut -c1-16).profdata
mv "$work/new.profdata" "$profile"
build "profile-use=$profile"
ls -l "target/$triple/dist/keepgate"
