# Sourced by install-fixtures: cloud-init for the systemd node, which has no Python. Debian's packages are unpacked into one folder and bound
# into the node; nothing of them is installed.
readonly cloud_init_packages=(cloud-init python3-attr python3-certifi python3-chardet python3-charset-normalizer python3-configobj python3-idna
  python3-jinja2 python3-json-pointer python3-jsonpatch python3-jsonschema python3-markupsafe python3-netifaces python3-oauthlib
  python3-pyrsistent python3-requests python3-serial python3-six python3-urllib3 python3-yaml
  python3.11 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libyaml-0-2)

cloud_init_missing() { [ "$want_emulator" = yes ] && [ ! -e "$cache/tools/cloud-init/complete" ]; }

fetch_cloud_init() {
  local new=$scratch/cloud-init package archive
  own_lists
  archive=$(debian_archive)
  say 'fetching cloud-init of bookworm'
  # its Python is that suite's
  lists_of bookworm "$archive" || return 1
  for package in "${cloud_init_packages[@]}"; do unpack "$package" "$new" "${own[@]}" || return 1; done
  touch "$new/complete"
  rm -rf "$cache/tools/cloud-init"
  mv "$new" "$cache/tools/cloud-init"
}
