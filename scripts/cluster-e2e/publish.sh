# Sourced by e2e-cluster: `publish` into a namespace of its own.
publish() { command_line publish --config "$work/publish"; }
published() { kubectl --namespace "$space" get configmap anchors --output 'jsonpath={.data.ca-bundle\.crt}'; }
rollout() { kubectl --namespace "$space" get deployment reader --output 'jsonpath={.spec.template.metadata.annotations.registry-trust\.io/content}'; }

publish_steps() {
  mkdir "$work/publish"
  new_ca e2e "$work/publish/ca.pem"
  cat >"$work/publish/trust.yaml" <<YAML
anchors: { e2e: { file: ca.pem } }
publish: { configMaps: [{ namespace: $space, name: anchors, restart: [reader] }] }
YAML
  # It need never run: only its template matters here.
  kubectl --namespace "$space" create deployment reader --image reader.invalid/reader:1 --replicas 0 >/dev/null
  step 'publish: the anchors are published, and the reader restarted' first_publish
  step 'publish: a second run changes nothing' second_publish
  step 'publish: drift is healed, and nothing of others touched' heal_published
}

first_publish() {
  publish
  [ "$(published)" = "$(cat "$work/publish/ca.pem")" ] || { echo 'the ConfigMap does not hold the anchor'; return 1; }
  rollout >"$work/first"
  [ -s "$work/first" ] || { echo 'the Deployment was not restarted'; return 1; }
}

second_publish() {
  publish
  [ "$(rollout)" = "$(cat "$work/first")" ] || { echo 'the same content restarted the reader'; return 1; }
}

heal_published() {
  kubectl --namespace "$space" patch configmap anchors --patch '{"data":{"ca-bundle.crt":"broken","theirs":"stays"}}'
  publish
  [ "$(published)" = "$(cat "$work/publish/ca.pem")" ] || { echo 'drift was not healed'; return 1; }
  [ "$(kubectl --namespace "$space" get configmap anchors --output 'jsonpath={.data.theirs}')" = stays ] || { echo "someone else's key was removed"; return 1; }
  kubectl --namespace "$space" get configmap anchors --show-managed-fields --output 'jsonpath={.metadata.managedFields[*].manager}' | grep -qw registry-trust ||
    { echo 'our field manager does not own the key'; return 1; }
}
