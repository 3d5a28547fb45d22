#!/usr/bin/env bash
# Checks the deployment files with the code of the programs that read them; tools/ship/main.go lists
# most of these programs. The script needs dpkg, systemd-analyze, strace and curl, and root or sudo.
# It uses the network only for Go modules. More checks of these files, without root and
# without the network, are in integration/deploy_test.go and integration/deploy.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
sudo=""
[ "$(id -u)" -eq 0 ] || sudo="sudo"
server=""
end() { [ -z "$server" ] || { $sudo kill "$server"; wait "$server"; } || true; $sudo rm -rf "$work"; }
trap end EXIT
say() { printf '%-11s %s\n' "$1" "$2"; }

go tool -modfile=tools/actionlint/go.mod actionlint .github/workflows/*.yml
say workflows "accepted by actionlint"

tools/reproducible.sh "$work/igproxy"
go vet -C tools/ship .
go run -C tools/ship . "$root" "$work/igproxy" "$work/igproxy.deb"

say syscalls "$(tools/ship-syscalls.sh "$work/igproxy")"

# The package: dpkg unpacks it into a folder. The binary, the units, the configuration and the
# scripts must be the same as those that the package was built from.
mkdir -p "$work/deb/var/lib/dpkg/updates" "$work/deb/var/lib/dpkg/info"
touch "$work/deb/var/lib/dpkg/status"
$sudo dpkg --root="$work/deb" --force-not-root --log=/dev/null --unpack "$work/igproxy.deb" >/dev/null
for unit in igproxy.service igproxy.socket; do cmp "deploy/systemd/$unit" "$work/deb/usr/lib/systemd/system/$unit"; done
cmp deploy/systemd/igproxy.yaml "$work/deb/etc/igproxy/igproxy.yaml.dpkg-new" # dpkg uses this name until the package is configured
cmp "$work/igproxy" "$work/deb/usr/bin/igproxy"
[ "$(dpkg-deb --field "$work/igproxy.deb" Package Architecture | tr '\n' ' ')" = "Package: igproxy Architecture: amd64 " ]
dpkg-deb --control "$work/igproxy.deb" "$work/control"
[ "$(cat "$work/control/conffiles")" = /etc/igproxy/igproxy.yaml ]
for script in postinst prerm postrm; do cmp "deploy/deb/$script" "$work/control/$script"; sh -n "deploy/deb/$script"; done
[ -z "$(dpkg-deb --contents "$work/igproxy.deb" | grep -v ' root/root ' || true)" ]
"$work/deb/usr/bin/igproxy" --version >/dev/null
say deb "unpacked by dpkg; $(stat -c %s "$work/igproxy.deb") bytes"

# The image, without a container engine: the same files, user, command and health check as in the
# Dockerfile.
image="$work/image"
mkdir -p "$image/etc/ssl/certs"
cp "$work/igproxy" "$image/igproxy"
cp /etc/ssl/certs/ca-certificates.crt "$image/etc/ssl/certs/"
head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$image/secret"
$sudo chown 65532:65532 "$image/secret"
$sudo chmod 0400 "$image/secret"
port=$((20000 + RANDOM % 10000))
inside=(env -i PATH="$PATH:/usr/sbin" IGPROXY_CLIENT_SECRET_FILE=/secret IGPROXY_LISTEN=127.0.0.1:0 IGPROXY_ADMIN_LISTEN="127.0.0.1:$port"
  chroot --userspec=65532:65532 --groups= "$image")
[ -z "$sudo" ] || inside=(sudo "${inside[@]}")
"${inside[@]}" /igproxy serve 2>"$work/log" & server=$!
for try in $(seq 100); do
  "${inside[@]}" /igproxy healthcheck >"$work/health" 2>&1 && break
  [ "$try" -lt 100 ] || { cat "$work/health" "$work/log" >&2; exit 1; }
  sleep 0.1
done
say image "runs in a folder with the Dockerfile's files, as the Dockerfile's user: $(cat "$work/health")"
