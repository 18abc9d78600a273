#!/bin/bash
# fetch-linux-source.sh DIR N: unpacks the N-th newest version (1 is the newest) of Debian's package linux-source-6.1 into DIR, which is made.
#
# Needs apt with Debian's lists, dpkg-deb and xz; loads some 150 MB and writes 1.4 GB. Prints the version.
set -euo pipefail
package=linux-source-6.1
dir=$1 newest=$2
mkdir "$dir"
work=$(mktemp -d "$(dirname "$dir")/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

version=$(apt-cache madison "$package" | awk '{print $3}' | sort -Vu | tail -n "$newest" | head -n 1)
[ -n "$version" ] || { echo "apt knows no $package" >&2; exit 1; }
(cd "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package=$version" && dpkg-deb -x "$package"_*.deb .)
tar -xJf "$work/usr/src/$package.tar.xz" -C "$dir" --strip-components=1
echo "$package $version"
