# Sourced by e2e-cluster: the whole story on the cluster's nodes. No restart of containerd is made to fail on nodes of
# others: the canary is taken back by hand (`registry-trust rollback`) while the others wait, and that blows the fuse. A
# generation that the live daemon refuses is shown by test/e2e/fleet-nodes.test.ts, on nodes of its own.
readonly startup_taint=registry-trust.io/untrusted other_taint=registry-trust-e2e
readonly taint_rights=$root/daemonset/components/startup-taint/taint.yaml
more=''
# Long enough to take the canary back before any other node would follow.
: "${fuse_soak:=60}"
soak=5
readonly folders='/etc/containerd /etc/ssl/certs /usr/local/share/ca-certificates'

node_steps() {
  new_ca 'the next root' "$work/next.pem"
  new_ca 'a root that is withdrawn' "$work/withdrawn.pem"
  step 'a Pod on each node can see what the product writes' start_witness
  step 'what the nodes have is noted' note_trees before
  installed=yes
  step 'install: profile full with the fleet component' install_all
  step 'canary: one node restarts containerd first, if any has to' eventually a_canary
  if [ -s "$work/canary" ]; then fuse_steps; else row 'fuse (no node has to restart containerd)' 'not run' 0; fi
  step 'proof: every node trusts the registry' first_generation
  step 'each Node has the condition RegistryTrustReady' eventually conditions_true
  step 'the startup taint of a Node is taken off, and no other one' startup_taint
  step 'a registry that is not trusted: condition False, and an Event' trust_lost
  step 'once it is gone: condition True, and an Event' trust_regained
  step 'rotation: a second root beside the first reaches every node' rotate
  step "drift: a node's hosts.toml is taken away, and comes back" drift
  step 'uninstall' uninstall
  installed=''
  step 'the nodes have what they had before' same_trees
}

fuse_steps() {
  step 'fuse: the canary is rolled back: halted, condition False, Events' take_canary_back
  step 'fuse: no other node has restarted when the soak is over' others_wait
  step 'fuse: a new generation takes the change back: it goes on' go_on
}

absent() {
  ! kubectl get namespace "$trust" >/dev/null 2>&1 || { echo "the namespace $trust exists: use a cluster without the product"; return 1; }
}

# overlay NAME: the shipped profile with the image of this run, as files that kubectl applies.
overlay() {
  kubectl kustomize "$root/daemonset/overlays/$1" | sed "s#localhost/registry-trust:0.1.0#$image#"
}

# declare_trust FILE…: the registry with these roots; with $more also another one.
declare_trust() {
  cat "$@" >"$work/ca.pem"
  cat >"$work/trust.yaml" <<YAML
registries: [{ host: "$registry", ca: ca.pem }${more:+, { host: "$more", ca: ca.pem }}]
restart: { permit: fleet, budget: { maxPerHour: 10 } }
fleet: { startupTaint: remove, rollout: { canary: 1, maxUnavailable: 1, soak: ${soak}s } }
YAML
  kubectl --namespace "$trust" create configmap "$trust" --from-file "$work/trust.yaml" --from-file "$work/ca.pem" --dry-run=client --output yaml |
    kubectl apply --filename -
}

# The first generation is one that is taken back later.
declare_withdrawn() { soak=$fuse_soak declare_trust "$ca" "$work/withdrawn.pem"; }

install_all() {
  all_events >"$work/events.before"
  kubectl apply --filename "$root/daemonset/base/namespace.yaml"
  declare_withdrawn
  overlay fleet | kubectl apply --filename -
  kubectl apply --filename "$taint_rights"
  kubectl --namespace "$trust" rollout status deployment/registry-trust-fleet --timeout "${patience}s"
  # Agents are ready once containerd has what they need: the roll-out of restarts comes with the proof.
  kubectl --namespace "$trust" get daemonset registry-trust
}

all_trusted() { command_line status --all; }
first_generation() {
  declare_trust "$ca"
  # The component sees it after a moment.
  sleep 2
  eventually all_trusted
}

all_events() { kubectl --namespace default get events --output 'jsonpath={range .items[*]}{.reason} {.involvedObject.name} {.metadata.name}{"\n"}{end}'; }
# new_events REASON: the Node of each Event of this run with this reason, one a line.
new_events() { all_events | { grep "^$1 " || true; } | { grep -vxFf "$work/events.before" || true; } | cut -d ' ' -f 2; }

# The node that was restarted first; nobody, once all are trusted without a restart.
a_canary() {
  new_events ContainerdRestarted >"$work/canary"
  [ ! -s "$work/canary" ] || return 0
  # An Event may be later than that.
  none_waits && sleep 3 && new_events ContainerdRestarted >"$work/canary"
}
none_waits() { fleet_metrics | grep -x "registry_trust_fleet_nodes{state=\"trusted\"} $(agents)"; }

halted() { fleet_metrics | grep -x "registry_trust_fleet_halted $1"; }
fleet_metrics() { kubectl get --raw "/api/v1/namespaces/$trust/services/registry-trust-fleet:http/proxy/metrics"; }
roll_back() {
  local pod
  pod=$(kubectl --namespace "$trust" get pods --selector app.kubernetes.io/name=registry-trust,app.kubernetes.io/component=agent --field-selector "spec.nodeName=$1" --output name)
  kubectl --namespace "$trust" exec "$pod" --container agent -- registry-trust rollback
}
condition_of() { kubectl get node "$1" --output 'jsonpath={range .status.conditions[?(@.type=="RegistryTrustReady")]}{.status} {.reason}{end}'; }
is_taken_back() { [ "$(condition_of "$1")" = 'False RolledBack' ]; }
has_new_event() { new_events "$1" | grep -x "$2"; }

take_canary_back() {
  local canary
  canary=$(cat "$work/canary")
  roll_back "$canary"
  eventually halted 1
  eventually is_taken_back "$canary"
  eventually has_new_event RolledBack "$canary"
  eventually has_new_event RolloutHalted "$canary"
}

others_wait() {
  sleep $((fuse_soak + 5))
  halted 1
  [ "$(new_events ContainerdRestarted)" = "$(cat "$work/canary")" ] || { echo "restarted: $(new_events ContainerdRestarted | xargs)"; return 1; }
}

go_on() {
  declare_trust "$ca"
  eventually halted 0
}

agents() { kubectl --namespace "$trust" get daemonset registry-trust --output 'jsonpath={.status.desiredNumberScheduled}'; }
conditions_true() { conditions_are True; }
conditions_are() {
  local agents alike
  agents=$(agents)
  alike=$(kubectl get nodes --output 'jsonpath={range .items[*]}{.status.conditions[?(@.type=="RegistryTrustReady")].status}{"\n"}{end}' | grep -c "^$1\$" || true)
  [ "$agents" -gt 0 ] && [ "$alike" = "$agents" ]
}

# The Node of a trusted agent, and its taints by key.
a_node() { kubectl get nodes --output 'jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="RegistryTrustReady")].status}{"\n"}{end}' | sed -n 's/ True$//p' | head -n 1; }
taints_of() { kubectl get node "$1" --output 'jsonpath={range .spec.taints[*]}{.key}{"\n"}{end}'; }
untainted() { ! taints_of "$1" | grep -qx "$startup_taint"; }

startup_taint() {
  local node
  node=$(a_node)
  # The second one is of this run: no Pod is kept away by PreferNoSchedule.
  kubectl taint node "$node" "$startup_taint=:PreferNoSchedule" "$other_taint=:PreferNoSchedule"
  eventually untainted "$node"
  taints_of "$node" | grep -qx "$other_taint" || { echo 'a taint of others was taken off'; return 1; }
  kubectl taint node "$node" "$other_taint-"
}
taints_off() {
  kubectl taint nodes --all "$startup_taint-" >/dev/null 2>&1 || true
  kubectl taint nodes --all "$other_taint-" >/dev/null 2>&1 || true
}

# events REASON: the Node of each Event with this reason, one a line.
events() { kubectl --namespace default get events --output "jsonpath={range .items[?(@.reason==\"$1\")]}{.involvedObject.name}{\"\\n\"}{end}"; }
has_more_events() { [ "$(events "$1" | wc -l)" -gt "$2" ]; }

trust_lost() {
  local before
  before=$(events RegistryTrustLost | wc -l)
  events RegistryTrusted | wc -l >"$work/trusted.before"
  more=$space.invalid declare_trust "$ca"
  eventually conditions_are False
  eventually has_more_events RegistryTrustLost "$before"
}

trust_regained() {
  declare_trust "$ca"
  eventually conditions_true
  eventually has_more_events RegistryTrusted "$(cat "$work/trusted.before")"
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
  taints_off
  kubectl delete --ignore-not-found --filename "$taint_rights"
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
