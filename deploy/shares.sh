#!/bin/sh
# Makes the run market/ with all its certificates and those of its etcd, and of these each host's share: one/, two/ and
# three/, with bazaar/ for /var/lib/bazaar and etcd/ for /etc/etcd. Takes `bazaar` and `openssl`.
set -eu
cd "$(dirname "$0")"
umask 077
# The key is a secret, and market.toml is none. Members on several machines do not get one by themselves.
{ printf 'key = "%s"\n' "$(openssl rand -hex 32)"; cat market.toml; } >keyed.toml
bazaar init --tls market --config keyed.toml
rm keyed.toml

certificate() { # name, what else openssl is told...
  name=$1
  shift
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
    -keyout "market/tls/$name.key" -out "market/tls/$name.pem" "$@"
}
by='-days 365 -CA market/tls/etcd-ca.pem -CAkey market/tls/etcd-ca.key -addext basicConstraints=critical,CA:FALSE'
certificate etcd-ca -days 3650
# shellcheck disable=SC2086  # several arguments
{
  certificate etcd-client $by
  for node in etcd-1 etcd-2 etcd-3; do certificate "$node" $by -addext "subjectAltName=DNS:$node,DNS:localhost"; done
}

share() { # host, node of etcd, members and others with a certificate...
  host=$1 node=$2
  shift 2
  mkdir -p "$host/bazaar/tls" "$host/etcd"
  cp market/bazaar.toml "$host/bazaar"
  cp market/tls/ca.pem market/tls/etcd-ca.pem "$host/bazaar/tls"
  for of; do cp "market/tls/$of.pem" "market/tls/$of.key" "$host/bazaar/tls"; done
  cp market/tls/etcd-ca.pem "$host/etcd/ca.pem"
  cp "market/tls/$node.pem" "$host/etcd/node.pem"
  cp "market/tls/$node.key" "$host/etcd/node.key"
}
share one etcd-1 ledger peer-0 peer-1 etcd-client
share two etcd-2 ledger peer-2 peer-3 etcd-client
# From here somebody looks at the run; `bazaar books` reads etcd.
share three etcd-3 peer-4 peer-5 tools etcd-client
