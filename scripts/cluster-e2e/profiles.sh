# Sourced by e2e-cluster: the API server itself judges each shipped profile, and nothing is written.
profile_steps() {
  local profile
  for profile in full hosts hosts-proof audit k3s rke2 fleet uninstall; do
    step "profile $profile: the API server takes it (dry run)" take_profile "$profile"
  done
  step 'the right to take the startup taint off: the API server takes it (dry run)' take_taint_rights
  step 'the Pods that look at the nodes: the API server takes them (dry run)' take_witness
}

take_taint_rights() { kubectl apply --dry-run=server --filename "$taint_rights"; }
take_witness() { witness | kubectl --namespace "$space" apply --dry-run=server --filename -; }

# The namespace may not exist yet, and a dry run makes none: objects in it are judged as if in that of this run.
take_profile() {
  kubectl kustomize "$root/daemonset/overlays/$1" | sed "s/^\( *namespace:\) $trust\$/\1 $space/" |
    kubectl apply --dry-run=server --filename -
}
