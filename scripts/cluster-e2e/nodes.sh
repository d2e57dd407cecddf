# Sourced by e2e-cluster: the whole story on the cluster's nodes. What a failed restart leads to is not provoked on nodes
# of others: test/e2e/fleet-nodes.test.ts does that on its own.
readonly folders='/etc/containerd /etc/ssl/certs /usr/local/share/ca-certificates'

node_steps() {
  new_ca 'the next root' "$work/next.pem"
  step 'a Pod on each node can see what the product writes' start_witness
  step 'what the nodes have is noted' note_trees before
  installed=yes
  step 'install: profile full with the fleet component' install_all
  step 'proof: every node trusts the registry, canary first' eventually all_trusted
  step 'each Node has the condition RegistryTrustReady' eventually conditions_true
  step 'rotation: a second root beside the first reaches every node' rotate
  step "drift: a node's hosts.toml is taken away, and comes back" drift
  step 'uninstall' uninstall
  installed=''
  step 'the nodes have what they had before' same_trees
}

absent() {
  ! kubectl get namespace "$trust" >/dev/null 2>&1 || { echo "the namespace $trust exists: use a cluster without the product"; return 1; }
}

# overlay NAME: the shipped profile with the image of this run, as files that kubectl applies.
overlay() {
  kubectl kustomize "$root/daemonset/overlays/$1" | sed "s#localhost/registry-trust:0.1.0#$image#"
}

declare_trust() {
  cat "$@" >"$work/ca.pem"
  cat >"$work/trust.yaml" <<YAML
registries: [{ host: "$registry", ca: ca.pem }]
restart: { permit: fleet }
fleet: { rollout: { canary: 1, maxUnavailable: 1, soak: 5s } }
YAML
  kubectl --namespace "$trust" create configmap "$trust" --from-file "$work/trust.yaml" --from-file "$work/ca.pem" --dry-run=client --output yaml |
    kubectl apply --filename -
}

install_all() {
  kubectl apply --filename "$root/daemonset/base/namespace.yaml"
  declare_trust "$ca"
  overlay fleet | kubectl apply --filename -
  kubectl --namespace "$trust" rollout status deployment/registry-trust-fleet --timeout "${patience}s"
  # Agents are ready once containerd has what they need: the roll-out of restarts comes with the proof.
  kubectl --namespace "$trust" get daemonset registry-trust
}

all_trusted() { command_line status --all; }

conditions_true() {
  local agents trusted
  agents=$(kubectl --namespace "$trust" get daemonset registry-trust --output 'jsonpath={.status.desiredNumberScheduled}')
  trusted=$(kubectl get nodes --output 'jsonpath={range .items[*]}{.status.conditions[?(@.type=="RegistryTrustReady")].status}{"\n"}{end}' | grep -c '^True$')
  [ "$agents" -gt 0 ] && [ "$trusted" = "$agents" ]
}

rotate() {
  declare_trust "$ca" "$work/next.pem"
  sleep 2
  eventually all_trusted
  eventually each_witness_sees "$(grep -c 'BEGIN CERT' "$work/ca.pem")"
}

witnesses() { kubectl --namespace "$space" get pods --selector app=witness --output 'jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}'; }
on_node() { kubectl --namespace "$space" exec "$1" -- /usr/bin/node -e "$2"; }
our_files="const fs = require('fs'); const base = '/etc/containerd/certs.d/'; const folder = fs.readdirSync(base).find((name) => name.startsWith('${registry%%:*}')); const at = (name) => base + folder + '/' + name;"

each_witness_sees() {
  local pod
  for pod in $(witnesses); do
    [ "$(on_node "$pod" "$our_files console.log(fs.readFileSync(at('ca.crt'), 'utf8').split('BEGIN CERT').length - 1)")" = "$1" ] || return 1
  done
}

has_hosts_toml() { on_node "$1" "$our_files process.exit(fs.existsSync(at('hosts.toml')) ? 0 : 1)"; }

drift() {
  local pod
  pod=$(witnesses | head -n 1)
  on_node "$pod" "$our_files fs.rmSync(at('hosts.toml'))"
  eventually has_hosts_toml "$pod"
}

uninstall() {
  kubectl --namespace "$trust" delete daemonset registry-trust --ignore-not-found
  overlay uninstall | kubectl apply --filename -
  kubectl --namespace "$trust" rollout status daemonset/registry-trust --timeout "${patience}s"
  overlay fleet | kubectl delete --ignore-not-found --filename -
  overlay uninstall | kubectl delete --ignore-not-found --filename -
}

witness() {
  local folder volumes='' mounts='' index=0
  for folder in $folders; do
    volumes+="{name: v$index, hostPath: {path: $folder, type: DirectoryOrCreate}}, "
    mounts+="{name: v$index, mountPath: $folder}, "
    index=$((index + 1))
  done
  cat <<YAML
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: witness}
spec:
  selector: {matchLabels: {app: witness}}
  template:
    metadata: {labels: {app: witness}}
    spec:
      tolerations: [{operator: Exists}]
      containers:
        - name: witness
          image: ${image:-localhost/registry-trust:0.1.0}
          imagePullPolicy: IfNotPresent
          command: [/usr/bin/node, -e, "process.on('SIGTERM', () => process.exit(0)); setInterval(() => {}, 2 ** 30)"]
          securityContext: {runAsUser: 0, runAsNonRoot: false}
          volumeMounts: [${mounts%, }]
      volumes: [${volumes%, }]
YAML
}

start_witness() {
  kubectl label --overwrite namespace "$space" pod-security.kubernetes.io/enforce=privileged
  witness | kubectl --namespace "$space" apply --filename -
  kubectl --namespace "$space" rollout status daemonset/witness --timeout "${patience}s"
}

# Path, kind, mode, and content or target of everything below the folders.
note_trees() {
  local pod
  for pod in $(witnesses); do
    on_node "$pod" "const fs = require('fs'); const { createHash } = require('crypto'); for (const folder of '$folders'.split(' ')) for (const name of fs.readdirSync(folder, { recursive: true }).sort()) { const path = folder + '/' + name; const stat = fs.lstatSync(path); const what = stat.isSymbolicLink() ? fs.readlinkSync(path) : stat.isFile() ? createHash('sha256').update(fs.readFileSync(path)).digest('hex') : ''; console.log(path, stat.mode.toString(8), what) }" \
      >"$work/$1.$pod"
  done
}

same_trees() {
  local pod
  note_trees after
  for pod in $(witnesses); do diff "$work/before.$pod" "$work/after.$pod"; done
}
