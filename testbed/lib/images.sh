# shellcheck shell=bash
# Container images without a registry and without a builder: one layer, packed with tar as a "docker archive".

# pack_image NAME ROOT CONFIG: packs the folder ROOT as $TB/images/NAME.tar and sets IMAGE to its reference, whose tag
# is the content's hash: a changed image is another reference, and so rolls out. CONFIG is the inside of the JSON
# object "config" of the image.
pack_image() {
  local name=$1 root=$2 config=$3 work=$TB/images/$1.work arch layer id json
  case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac
  rm -rf "$work"
  mkdir -p "$work"
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu -C "$root" -cf "$work/layer.tar" .
  layer=$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)
  json="{\"architecture\":\"$arch\",\"os\":\"linux\",\"config\":{$config},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$layer\"]}}"
  id=$(printf %s "$json" | sha256sum | cut -d' ' -f1)
  IMAGE=localhost/$name:${id:0:12}
  printf %s "$json" >"$work/$id.json"
  printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$id" "$IMAGE" >"$work/manifest.json"
  tar -C "$work" -cf "$TB/images/$name.tar.new" manifest.json "$id.json" layer.tar
  rm -rf "$work"
  mv "$TB/images/$name.tar.new" "$TB/images/$name.tar"
  echo "$IMAGE" | put "$TB/images/$name.ref"
}

# in_node COMMAND...: runs a command where containerd's socket and images are, in the node's private namespaces.
in_node() { nsenter --target "$(node_init)" --mount -- "$@"; }

# The node's first process: the child of `unshare`.
node_init() { local pid; pid=$(pid_of node) && cat "/proc/$pid/task/$pid/children" | tr -d ' '; }

import_image() { in_node ctr images import "$TB/images/$1.tar" >/dev/null; }

# up_to_date NAME FILES...: whether the image was made from these very files. Notes their hash in $SOURCE.
up_to_date() {
  local name=$1
  shift
  SOURCE=$(sha256sum "$@" | sha256sum | cut -c1-16)
  [ -s "$TB/images/$name.tar" ] && [ "$(cat "$TB/images/$name.source" 2>/dev/null)" = "$SOURCE" ]
}

pause_image() {
  ! up_to_date pause "$TESTBED/pause/pause.c" || return 0
  rm -rf "$TB/images/root"; mkdir -p "$TB/images/root"
  gcc -Os -static -s -o "$TB/images/root/pause" "$TESTBED/pause/pause.c"
  pack_image pause "$TB/images/root" '"Entrypoint":["/pause"]'
  echo "$SOURCE" | put "$TB/images/pause.source"
}

# go_program NAME OUTPUT: builds one of the testbed's own programs.
go_program() {
  (cd "$TESTBED/$1" && CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off GOFLAGS="-mod=readonly -buildvcs=false" go build -trimpath -ldflags "-s -w" -o "$2" .)
}

shop_image() {
  local started
  ! up_to_date shop "$TESTBED"/shop/go.mod "$TESTBED"/shop/*.go || return 0
  started=$(now)
  rm -rf "$TB/images/root"; mkdir -p "$TB/images/root"
  go_program shop "$TB/images/root/shop"
  pack_image shop "$TB/images/root" '"Entrypoint":["/shop"],"User":"65532:65532","ExposedPorts":{"8080/tcp":{}}'
  # A node that is up needs to be told; one that starts imports every image by itself.
  ! node_is_up || import_image shop
  echo "$SOURCE" | put "$TB/images/shop.source"
  report shop "$started" "$IMAGE"
}

# own_program NAME: builds one of the testbed's own programs into the instance's bin/, when its source is another.
own_program() {
  local name=$1 started sum
  sum=$(sha256sum "$TESTBED/$name"/go.mod "$TESTBED/$name"/*.go | sha256sum)
  [ ! -x "$TB/bin/$name" ] || [ "$(cat "$TB/bin/.$name" 2>/dev/null)" != "$sum" ] || return 0
  started=$(now)
  go_program "$name" "$TB/bin/$name.new"
  mv "$TB/bin/$name.new" "$TB/bin/$name"
  echo "$sum" | put "$TB/bin/.$name"
  report "$name" "$started" "$TB/bin/$name"
}
load_generator() { own_program load; }
demo_program() { own_program demo; }

node_is_up() { pid_of node >/dev/null && in_node test -S "$CONTAINERD_ADDRESS"; }
