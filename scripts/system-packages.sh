#!/usr/bin/env bash
# Installs the programs that some tests compare with: ffmpeg and ffprobe as an independent decoder,
# chromium to look at the report page, iproute2 and PostgreSQL for a cluster in network namespaces. Does nothing when they are there, and never fails: tests that
# miss a program skip and say which. NO_SYSTEM_PACKAGES=1 turns it off.
set -uo pipefail

say() { echo "system-packages: $*" >&2; }

missing=()
if ! command -v ffmpeg >/dev/null || ! command -v ffprobe >/dev/null; then missing+=(ffmpeg); fi
if ! command -v chromium >/dev/null; then missing+=(chromium); fi
if ! command -v ip >/dev/null; then missing+=(iproute2); fi
if ! compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null; then missing+=(postgresql); fi

if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

skipped="tests that need ${missing[*]} will skip; to run them, install by hand: ${missing[*]}"
if [ -n "${NO_SYSTEM_PACKAGES:-}" ]; then
    say "NO_SYSTEM_PACKAGES is set; $skipped"
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    say "no apt-get here; $skipped"
    exit 0
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        say "neither root nor able to sudo without a password; $skipped"
        exit 0
    fi
    as_root=(sudo -n)
fi

# Bounded, so that a machine without a network loses minutes at most. apt LIMIT_S COMMAND...
apt() {
    local limit_s=$1
    shift
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive timeout "$limit_s" \
        apt-get -q -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=60 "$@" </dev/null >&2
}

say "installing ${missing[*]}"
apt 90 update || say "apt-get update failed; trying with the package lists at hand"
for package in "${missing[@]}"; do
    apt 240 install --yes --no-install-recommends "$package" \
        || say "could not install $package; tests that need it will skip"
done
exit 0
