// What each deprecation that containerd 1.6 to 2.4 reports means, and what to do about it (containerd,
// pkg/deprecation/deprecation.go). Pure.

export type Deprecation = { readonly meaning: string; readonly remedy: string }

const PREFIX = 'io.containerd.deprecation/'

/** By containerd's id, without its prefix. */
export const DEPRECATIONS: { readonly [id: string]: Deprecation } = {
  'cri-registry-mirrors': {
    meaning: 'config.toml has sections registry.mirrors.',
    remedy:
      'Run `registry-trust migrate`: it moves mirrors and their endpoints to hosts.toml files. `registry-trust plan` shows it first.',
  },
  'cri-registry-configs': {
    meaning: 'config.toml has sections registry.configs.',
    remedy:
      'Run `registry-trust migrate`: it moves the tls sections to hosts.toml files. It leaves auth sections alone: use imagePullSecrets for them.',
  },
  'cri-registry-auths': {
    meaning: 'config.toml has passwords in registry.auths.',
    remedy:
      'Replace the logins with imagePullSecrets or a credential provider of the kubelet, then remove the section by hand: `migrate` moves no password.',
  },
  'pull-schema-1-image': {
    meaning: 'An image with a manifest of Docker schema 1 was pulled.',
    remedy: 'Push the image again with a current client; containerd 2.1 cannot pull it any more.',
  },
  'cri-api-v1alpha2': {
    meaning: 'A client speaks CRI v1alpha2.',
    remedy: 'Upgrade the kubelet or crictl that uses it to CRI v1; containerd 2.0 has only v1.',
  },
  'cri-criu-path': {
    meaning: 'config.toml sets CriuPath in the options of a runtime.',
    remedy: 'Remove CriuPath and put the criu binary on the PATH of containerd.',
  },
  'cri-systemd-cgroup-v1': {
    meaning: 'config.toml sets systemd_cgroup of the CRI plugin.',
    remedy: 'Set SystemdCgroup in the options of the runtime runc instead, and remove systemd_cgroup.',
  },
  'cri-untrusted-workload-runtime': {
    meaning: 'config.toml sets untrusted_workload_runtime.',
    remedy: 'Define a runtime under containerd.runtimes and choose it with a RuntimeClass.',
  },
  'cri-default-runtime': {
    meaning: 'config.toml sets default_runtime.',
    remedy: 'Define the runtime under containerd.runtimes and name it in default_runtime_name.',
  },
  'cri-runtime-engine': {
    meaning: 'config.toml sets runtime_engine.',
    remedy: 'Use a v2 runtime (runtime_type = "io.containerd.runc.v2") with BinaryName in its options.',
  },
  'cri-runtime-root': {
    meaning: 'config.toml sets runtime_root.',
    remedy: 'Set Root in the options of a v2 runtime instead.',
  },
  'cri-cni-bin-dir': {
    meaning: 'config.toml sets bin_dir of the CNI section.',
    remedy: 'Write bin_dirs = ["…"] in the same section, and remove bin_dir.',
  },
  'enable-cdi': {
    meaning: 'config.toml sets enable_cdi.',
    remedy: 'Remove enable_cdi: a containerd that does not know the key has CDI always on.',
  },
  'aufs-snapshotter': {
    meaning: 'The aufs snapshotter is used.',
    remedy: 'Use the overlayfs snapshotter: drain the node, change the snapshotter and let the images be pulled again.',
  },
  'restart-logpath': {
    meaning: 'A container has the label containerd.io/restart.logpath.',
    remedy: 'Use the label containerd.io/restart.loguri with a file:// address.',
  },
  'runtime-v1': {
    meaning: 'A container runs with io.containerd.runtime.v1.linux.',
    remedy: 'Use io.containerd.runc.v2 for it, and start it anew before the upgrade to containerd 2.',
  },
  'runtime-runc-v1': {
    meaning: 'A container runs with io.containerd.runc.v1.',
    remedy: 'Set runtime_type = "io.containerd.runc.v2" for its runtime; the options stay as they are.',
  },
  'go-plugin-library': {
    meaning: 'A runtime is a plugin in the form of a Go library.',
    remedy: 'Use a runtime that is a program of its own (a shim); containerd 2.1 loads no Go libraries.',
  },
  'tracing-processor-config': {
    meaning: 'config.toml configures the OTLP exporter.',
    remedy: "Remove the section and set the OTEL_EXPORTER_OTLP_* variables in containerd's unit.",
  },
  'tracing-service-config': {
    meaning: 'config.toml configures tracing.',
    remedy: "Remove the section and set OTEL_SERVICE_NAME and OTEL_TRACES_SAMPLER in containerd's unit.",
  },
  'nri-v010-plugin': {
    meaning: 'An NRI plugin of the 0.1.0 style is used.',
    remedy: 'Replace it with a plugin of the current NRI, or run it through the v010-adapter plugin.',
  },
  'nri-plugin-interface': {
    meaning: 'An NRI plugin speaks an older interface than that of containerd.',
    remedy: 'Upgrade the NRI plugin; the log of containerd names it when it registers.',
  },
  'runc-options-task-api-address': {
    meaning: 'A client sets task_api_address in the options of runc.',
    remedy: 'Upgrade the client that creates the task: it has to set task_api_address in CreateTaskRequest.',
  },
  'runc-options-task-api-version': {
    meaning: 'A client sets task_api_version in the options of runc.',
    remedy: 'Upgrade the client that creates the task: it has to set task_api_version in CreateTaskRequest.',
  },
  'cri-create-container-checkpoint-restore': {
    meaning: 'A container was restored from a checkpoint by an ordinary CreateContainer.',
    remedy: 'Stop restoring checkpoints by the image of a Pod; containerd 2.4 does not do it any more.',
  },
  'cgroup-v1': {
    meaning: 'The node runs with cgroup v1.',
    remedy:
      'Boot the node with cgroup v2 (systemd.unified_cgroup_hierarchy=1); nothing in the configuration of containerd or of registries changes it.',
  },
}

/** What to do about the deprecation with this id, as containerd reports it. */
export function deprecationOf(id: string): Deprecation {
  const name = id.startsWith(PREFIX) ? id.slice(PREFIX.length) : id
  return (
    DEPRECATIONS[name] ?? {
      meaning: `containerd reports ${name}.`,
      remedy: 'Run `ctr deprecations list` on the node: it says what is used and which release removes it.',
    }
  )
}
