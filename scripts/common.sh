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
