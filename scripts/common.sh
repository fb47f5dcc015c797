# Shared by the set-up scripts: where the cache is, how to speak, how to take a lock. Sourced, not run.

case "$(uname -s)" in
Darwin) default_cache="$HOME/Library/Caches/bestbox" ;;
*) default_cache="${XDG_CACHE_HOME:-$HOME/.cache}/bestbox" ;;
esac
# The same folder as `bestbox` itself uses.
export BESTBOX_CACHE="${BESTBOX_CACHE:-$default_cache}"

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# lock NAME: waits until no other process holds NAME; held until this process ends.
lock() {
    mkdir -p "$BESTBOX_CACHE/run"
    command -v flock >/dev/null || return 0
    exec 9>"$BESTBOX_CACHE/run/$1.lock"
    if ! flock -n 9; then
        say "another process is at it; waiting for it"
        flock 9
    fi
}

# sdist PACKAGE VERSION SHA256 PROBE: the source distribution of a package, unpacked into $BESTBOX_CACHE/src/NAME-VERSION,
# where the file PROBE then is. Unpacked under another name first, so that the folder is there only when it is complete.
sdist() {
    local name="${1//-/_}-$2" archive folder pip=(python3 -m pip)
    folder="$BESTBOX_CACHE/src/$name"
    archive="$BESTBOX_CACHE/downloads/$name.tar.gz"
    [ ! -f "$folder/$4" ] || return 0
    mkdir -p "$BESTBOX_CACHE"/{src,downloads}
    if ! has_sha256 "$archive" "$3"; then
        say "downloading package $1 $2"
        rm -f "$archive"
        "${pip[@]}" --version >/dev/null 2>&1 || pip=(pip3)
        "${pip[@]}" download --quiet --no-deps --no-binary="$1" --no-cache-dir --disable-pip-version-check \
            --dest "$BESTBOX_CACHE/downloads" "$1==$2" >&2 ||
            die "cannot download $1 $2: check the network, or put $name.tar.gz into $BESTBOX_CACHE/downloads"
        has_sha256 "$archive" "$3" || die "$archive is not the pinned file: remove it and try again"
    fi
    say "unpacking"
    rm -rf "$folder" "$folder.part"
    mkdir -p "$folder.part"
    tar -xzf "$archive" -C "$folder.part" --strip-components=1 || die "cannot unpack $archive: is the disk full?"
    mv "$folder.part" "$folder"
    rm -f "$archive"
}

# has_sha256 FILE DIGEST
has_sha256() {
    [ -f "$1" ] && [ "$(python3 -c 'import hashlib, sys
h = hashlib.sha256()
with open(sys.argv[1], "rb") as f:
    while b := f.read(1 << 20): h.update(b)
print(h.hexdigest())' "$1")" = "$2" ]
}

# build_corrections FOLDER: copies scripts/build into the cache, at a path that is the same for every clone. Only what
# changed: a newer file would be compiled again.
build_corrections() {
    local file
    mkdir -p "$BESTBOX_CACHE/src/bestbox-build"
    for file in ggml.cmake amx.h; do
        cmp -s "$1/$file" "$BESTBOX_CACHE/src/bestbox-build/$file" || cp "$1/$file" "$BESTBOX_CACHE/src/bestbox-build/$file"
    done
}

# The number of compilers at once: some files take more than a gigabyte.
build_jobs() {
    local jobs memory
    jobs=$(getconf _NPROCESSORS_ONLN)
    memory=$(awk '/^MemAvailable/ { print int($2 / 1500000) }' /proc/meminfo 2>/dev/null || true)
    if [ -n "$memory" ] && [ "$memory" -lt "$jobs" ]; then jobs=$((memory > 0 ? memory : 1)); fi
    echo "$jobs"
}

# This very kind of processor: native code that moves to another one is built again.
this_processor() {
    echo "$(uname -m)-$( (grep -m1 -E '^(flags|Features)' /proc/cpuinfo || true) 2>/dev/null | cksum | cut -d' ' -f1)"
}
