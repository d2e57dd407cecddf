// Every error the agent can raise, in one table: stable code, remedy, whether trying again can help.
// The message of an AgentError says what happened and where; the remedy says what a person should do about it.
import { redactUserInfo } from './secret.ts'

export type ErrorEntry = { readonly remedy: string; readonly retryable: boolean }

export const ERRORS = {
  // input
  CONFIG_MISSING: {
    remedy: 'Create trust.yaml there, or name the file or folder with --config.',
    retryable: true,
  },
  CONFIG_INVALID: {
    remedy: 'Correct the file at the position given; the last good configuration stays in force until then.',
    retryable: false,
  },
  CONFIG_TOO_LARGE: {
    remedy: 'Split the configuration into registries.d/*.yaml; each file may be up to 1 MiB.',
    retryable: false,
  },
  CONFIG_UNREADABLE: { remedy: 'Make the file readable by the agent.', retryable: true },
  CONFIG_CONFLICT: {
    remedy: 'Declare each registry host and each anchor name once; remove one of the two places named.',
    retryable: false,
  },
  LINT_PATH_MISSING: { remedy: 'Name a file or folder that exists.', retryable: false },
  LINT_TOO_MANY_FILES: { remedy: 'Name the folders or files inside it instead, a part at a time.', retryable: false },
  FRAGMENT_NOT_ALLOWED: {
    remedy:
      'Move a file to the folder of the fragment that names it; for anything else, have the owner of trust.yaml declare it or permit it in policy.fragments.',
    retryable: false,
  },
  CONFIG_NOT_SUPPORTED_YET: {
    remedy: 'Remove the key: this version does not implement it and refuses to ignore it silently.',
    retryable: false,
  },
  NOT_FOR_THIS_NODE: { remedy: 'No action needed; change `when` if it should apply to this node.', retryable: false },
  CONDITION_UNKNOWN: {
    remedy:
      'Wait until the fact is known again: containerd must answer, the file of --node-labels must exist, and fleet.nodeLabels must name the label.',
    retryable: true,
  },
  ANCHOR_MISSING: {
    remedy: 'Put the file beside trust.yaml (a key of the same ConfigMap or Secret) or correct its name.',
    retryable: true,
  },
  ANCHOR_UNREADABLE: { remedy: 'Make the file readable by the agent.', retryable: true },
  ANCHOR_EMPTY: { remedy: 'The file is empty: put the CA certificate into it.', retryable: false },
  ANCHOR_TOO_LARGE: { remedy: 'Provide the CA certificates only: an anchor may be up to 1 MiB.', retryable: false },
  ANCHOR_NOT_A_CERTIFICATE: {
    remedy: 'Provide the CA certificate as PEM ("-----BEGIN CERTIFICATE-----"), DER, or base64 of one of them.',
    retryable: false,
  },
  ANCHOR_PRIVATE_KEY: {
    remedy: 'Remove the private key from the file, keep the certificate, and replace the key: it was exposed.',
    retryable: false,
  },
  ANCHOR_NOT_A_CA: {
    remedy: 'Provide the certificate of the authority that issued the server certificate, not the server certificate.',
    retryable: false,
  },
  ANCHOR_PIN_MISMATCH: {
    remedy: 'Check where the file comes from; if the change is intended, add the new fingerprint to `pins`.',
    retryable: false,
  },
  ANCHOR_UNUSABLE: {
    remedy: 'Have the CA certificate reissued: containerd (Go) cannot read it in this form.',
    retryable: false,
  },
  ANCHOR_WEAK_KEY: {
    remedy: 'Have the CA reissued with a longer key; policy.minRsaBits sets the limit.',
    retryable: false,
  },
  ANCHOR_EXPIRED: {
    remedy: 'Add the renewed CA certificate beside this one; nothing signed by the expired one is still trusted.',
    retryable: false,
  },
  ANCHOR_NOT_YET_VALID: {
    remedy: 'Check the clock of the node; the certificate is installed, but is not trusted before its start date.',
    retryable: true,
  },
  ANCHOR_NOT_SUPPORTED_YET: {
    remedy:
      'Convert the file to PEM, e.g. with `openssl pkcs7 -print_certs`, `openssl pkcs12 -nokeys` or `openssl x509`.',
    retryable: false,
  },
  ANCHOR_PASSWORD: {
    remedy:
      'Name the file that holds the password of the store: passwordFile in trust.yaml, --password-file for inspect.',
    retryable: false,
  },
  ANCHOR_TOO_COSTLY: {
    remedy:
      'Write the store again with fewer iterations (openssl pkcs12 -iter 100000), or provide the certificates as PEM.',
    retryable: false,
  },
  ANCHOR_DUPLICATE: { remedy: 'No action needed: one copy is enough.', retryable: false },
  ANCHOR_ALREADY_TRUSTED: {
    remedy: 'No action needed; declare it only if the node may lose it.',
    retryable: false,
  },
  ANCHOR_INTERMEDIATE: {
    remedy:
      'No action needed if the server does not send it; otherwise declare the root above it, which is valid longer.',
    retryable: false,
  },
  ANCHOR_NAME_CONSTRAINED: {
    remedy: 'Check that the names of your registries are among those allowed.',
    retryable: false,
  },
  ANCHOR_WEAK_SIGNATURE: {
    remedy: 'It works as an anchor, but containerd refuses it when a server sends it: plan its replacement.',
    retryable: false,
  },
  ANCHOR_EXPIRES_SOON: {
    remedy: 'Add the renewed CA certificate beside this one before it expires.',
    retryable: false,
  },
  CLIENT_CERTIFICATE_UNUSABLE: {
    remedy: 'Provide the certificate and its own, unencrypted private key as two PEM files.',
    retryable: true,
  },
  ANCHOR_REACHES_FORBIDDEN: {
    remedy:
      'Set `scope: registries` on the anchor, use a CA with name constraints, or remove the host from policy.forbidAnchorsFor. With policy.strict this is refused.',
    retryable: false,
  },
  ANCHOR_FORBIDDEN: {
    remedy: 'Remove the registry, or remove its host from policy.forbidAnchorsFor.',
    retryable: false,
  },
  // node
  CONTAINERD_NOT_FOUND: {
    remedy:
      'Start containerd, or name its socket with --containerd-address. ' +
      'If this node has no containerd on purpose, set targets.containerd.enabled: false.',
    retryable: true,
  },
  NOT_CONTAINERD: {
    remedy:
      'If this node has containerd, name its socket with --containerd-address. ' +
      'With CRI-O leave targets.containerd.enabled at auto; with another runtime set it to false.',
    retryable: true,
  },
  CRI_UNREACHABLE: {
    remedy: 'See `systemctl status containerd` on the node; the agent continues when the socket answers.',
    retryable: true,
  },
  CRI_NOT_LOADED: {
    remedy:
      'Remove the CRI plugin from disabled_plugins in config.toml, or look for "failed to load plugin" in the log of containerd.',
    retryable: true,
  },
  CRI_CALL_FAILED: { remedy: "See containerd's log on the node for the call named.", retryable: true },
  CONTAINERD_CONFIG_UNREADABLE: {
    remedy: "Repair containerd's config file at the position given; nothing was changed.",
    retryable: true,
  },
  CONTAINERD_CONFIG_UNSUPPORTED: {
    remedy: 'Set config_path by hand as docs/install.md shows; the agent then does not edit the file.',
    retryable: false,
  },
  LEGACY_REGISTRY_CONFIG: {
    remedy:
      'Move registry.mirrors and registry.configs to hosts.toml files, then set config_path: the CRI plugin does not load while both are set.',
    retryable: false,
  },
  MIGRATION_INSECURE_KEPT: {
    remedy:
      "Declare the registry with its CA in trust.yaml, then remove skip_verify from the host folder's hosts.toml.",
    retryable: false,
  },
  LAYOUT_LEGACY_UNUSABLE: {
    remedy: 'Set targets.containerd.layout to auto in trust.yaml; the agent then writes hosts.toml files instead.',
    retryable: false,
  },
  LEGACY_CA_FOREIGN: {
    remedy:
      "Add the declared CA to the file named, or remove the key from containerd's configuration so that the agent can set it.",
    retryable: true,
  },
  SANDBOX_IMAGE_NOT_READY: {
    remedy:
      'Make the image reachable for this node: declare its registry, or a mirror for it, under `registries`, or name ' +
      'another image in containerd.sandboxImage. Until then config.toml keeps its current sandbox image.',
    retryable: true,
  },
  SANDBOX_IMAGE_MISSING: {
    remedy:
      'No Pod starts without it: name an image that this node can pull in containerd.sandboxImage of trust.yaml, or ' +
      'declare a mirror for its host under `registries`; or preload it.',
    retryable: true,
  },
  MIGRATION_NOTE: {
    remedy: 'Read what the move to host folders changes or leaves behind, and correct the hosts.toml named if needed.',
    retryable: false,
  },
  CONFIG_EDIT_UNSUPPORTED: {
    remedy: 'Set config_path by hand; the file has a form that cannot be edited without touching other bytes.',
    retryable: false,
  },
  CONTAINERD_AMBIGUOUS: {
    remedy: 'Name the socket with --containerd-address and the unit with restart.unit.',
    retryable: false,
  },
  REHEARSAL_FAILED: {
    remedy:
      "Correct what containerd's message names: containerd refuses the candidate configuration; nothing was changed.",
    retryable: false,
  },
  REHEARSAL_UNAVAILABLE: {
    remedy:
      "Mount the node's /usr read-only so that its own containerd binary can be run, or pass --consent-unrehearsed.",
    retryable: true,
  },
  HOSTS_KEY_UNSUPPORTED: {
    remedy:
      'Correct the key in `extra`, or use `when` to declare the registry only on nodes whose containerd reads the key; the rest of the registry is as declared.',
    retryable: false,
  },
  HOST_ADDRESS_CONFLICT: {
    remedy: 'Remove the name from that line of the hosts file, or correct `addresses` in trust.yaml.',
    retryable: false,
  },
  HOSTS_FILE_FOREIGN: {
    remedy: 'Another tool wrote this file: add the CA there, or remove the file so that the agent can manage it.',
    retryable: false,
  },
  K3S_REGISTRIES_UNSUPPORTED: {
    remedy:
      'Name the CA file there by hand (configs."HOST".tls.ca_file), or bring the file into the form described in docs/compatibility.md.',
    retryable: false,
  },
  K3S_REGISTRIES_FOREIGN: {
    remedy: 'To use the anchors of trust.yaml, remove that ca_file from registries.yaml; otherwise no action needed.',
    retryable: false,
  },
  K3S_RESTART_DUE: {
    remedy: 'Restart k3s or rke2 on this node when it suits you: the kubelet and containerd restart with it.',
    retryable: true,
  },
  // files
  NODE_FILE_UNREADABLE: { remedy: 'Make the path readable by root on the node.', retryable: true },
  FILE_OUTSIDE_TARGET: {
    remedy: 'A symbolic link leads out of the folder the agent may write: remove the link.',
    retryable: false,
  },
  FILE_FOREIGN: {
    remedy: 'Another tool or person made this file: remove it, or rename the anchor, so that the agent can manage it.',
    retryable: false,
  },
  FILE_CHANGED_BY_OTHERS: {
    remedy:
      'The file was changed after the agent wrote it and is left unchanged: remove it by hand if it is not needed.',
    retryable: false,
  },
  FILE_CHANGED_MEANWHILE: {
    remedy:
      'No action needed: the next run plans from the current content. If this happens repeatedly, find out what writes the file.',
    retryable: true,
  },
  FILE_FOREIGN_OWNER: {
    remedy: 'The file belongs to another user: chown it to root, or remove it.',
    retryable: false,
  },
  TARGET_READ_ONLY: {
    remedy: 'Mount the folder read-write, or switch the target off in trust.yaml.',
    retryable: true,
  },
  RELOAD_PENDING: {
    remedy:
      'Run `systemctl reload crio` on the node (running containers and pulls are not affected), ' +
      'or set auto_reload_registries = true in crio.conf.',
    retryable: true,
  },
  TARGET_NOT_MOUNTED: {
    remedy: 'Mount the folder (`registry-trust doctor` names the profile or component), or switch the target off.',
    retryable: true,
  },
  NO_SPACE: { remedy: 'Free disk space on the node; everything written so far was undone.', retryable: true },
  WRITE_FAILED: { remedy: 'See the cause in the message; everything written so far was undone.', retryable: true },
  STATE_UNREADABLE: {
    remedy:
      'Find out what damaged the state folder. The agent continues without the lost state, and adopts what is clearly its own.',
    retryable: false,
  },
  LOCKED: { remedy: 'Another agent is working on this node: wait until it has finished, or stop it.', retryable: true },
  ROLLBACK_INCOMPLETE: {
    remedy: 'Compare the files named with the copies in the backup folder and restore them by hand.',
    retryable: false,
  },
  UNDO_KEPT_OTHERS: {
    remedy:
      'Check the file: what others wrote while the agent changed it was kept; restore anything that is missing from the copy.',
    retryable: false,
  },
  STATE_SET_ASIDE: {
    remedy: 'Find out from the file named what damaged it, then remove it; the agent continues without it.',
    retryable: false,
  },
  OWNERSHIP_ADOPTED: {
    remedy:
      'No action needed on the node. Find out where state.json went: perhaps a backup of the node was restored, or something removes files below /var/lib.',
    retryable: false,
  },
  OWNERSHIP_UNSURE: {
    remedy:
      'Of the files named, remove those that the agent wrote and that are no longer declared, then run `registry-trust apply`: it treats the remaining ones as foreign.',
    retryable: false,
  },
  ATTRIBUTES_LOST: {
    remedy:
      'Set them again by hand (setfacl, setfattr, restorecon). The agent cannot keep them without GNU cp on the node, or without the right to set them.',
    retryable: false,
  },
  RECONCILE_OVERDUE: {
    remedy: "See the agent's log for what delays the run; restart the agent if this persists.",
    retryable: true,
  },
  AUDIT_NOT_WRITTEN: {
    remedy: 'Make audit.jsonl in the state folder a file that root may append to, and free disk space.',
    retryable: true,
  },
  ROLLBACK_BLOCKED: {
    remedy: 'Undo the later changes to the files named, or change trust.yaml instead and run `registry-trust apply`.',
    retryable: false,
  },
  // restart
  RESTART_UNAVAILABLE: {
    remedy: 'Restart containerd yourself, or choose restart.strategy systemd or signal.',
    retryable: true,
  },
  RESTART_REFUSED: {
    remedy: 'Restarting would harm the node for the reason given: resolve it, or restart by hand at a quiet time.',
    retryable: true,
  },
  RESTART_FAILED: {
    remedy: 'The old configuration was put back; see the journal of the unit for the reason.',
    retryable: false,
  },
  CONFIG_PATH_IN_USE: {
    remedy: 'Remove the host directories named, or leave config_path as it is: it does no harm.',
    retryable: false,
  },
  WRITER_CONFLICT: {
    remedy:
      'Find the other writer (audit log, `auditctl -w PATH`) and stop one of the two; then run `registry-trust apply`.',
    retryable: false,
  },
  NOTHING_TO_ROLL_BACK: {
    remedy: 'There is no earlier committed state; `registry-trust uninstall` removes everything.',
    retryable: false,
  },
  GENERATION_ROLLED_BACK: {
    remedy: 'Correct the configuration, or run `registry-trust apply` to try the same one again.',
    retryable: false,
  },
  TRUST_LOST: {
    remedy: 'The change was undone: compare the declared anchors with the chain that the registry serves.',
    retryable: false,
  },
  DISTRUST_NOT_POSSIBLE: {
    remedy:
      'Give the agent write access to the files named, or remove the certificate by hand; docs/config.md says what each distribution offers.',
    retryable: false,
  },
  ANCHOR_WOULD_ORPHAN: {
    remedy: 'Declare the old and the new anchor together until the registry serves the new chain.',
    retryable: false,
  },
  // cluster
  CLUSTER_UNREACHABLE: { remedy: 'Check the network path to the API server, or the kubeconfig.', retryable: true },
  CLUSTER_FORBIDDEN: {
    remedy: 'Grant the verbs of daemonset/publish/role.yaml for the object named, by resourceNames.',
    retryable: true,
  },
  CLUSTER_FAILED: { remedy: "See the API server's message.", retryable: true },
  // surfaces
  DAEMON_UNREACHABLE: { remedy: 'Start the agent, or name its address with --listen.', retryable: true },
  LISTEN_FAILED: {
    remedy: 'Choose another address with --listen, or stop the process that uses this one.',
    retryable: true,
  },
  NOT_FOUND: { remedy: 'Ask for one of the addresses listed; /openapi.json describes them all.', retryable: false },
  METHOD_NOT_ALLOWED: { remedy: 'Use the method named in the Allow header.', retryable: false },
  REQUEST_INVALID: { remedy: 'Correct the request; /openapi.json describes what is accepted.', retryable: false },
  UNAUTHENTICATED: {
    remedy: 'Send "Authorization: Bearer TOKEN" with the content of the file given by --token-file.',
    retryable: false,
  },
  NO_TOKEN_CONFIGURED: {
    remedy: 'Start the agent with --token-file to allow requests that change something.',
    retryable: false,
  },
  USAGE: { remedy: 'See registry-trust --help.', retryable: false },
  INTERNAL: { remedy: 'This is a defect in the agent: report it with the log lines around it.', retryable: true },
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof ERRORS

/** Values for logs and JSON; never a secret. */
export type ErrorDetail = { readonly [key: string]: string | number | boolean | null | readonly string[] }

export class AgentError extends Error {
  readonly code: ErrorCode
  readonly detail: ErrorDetail

  constructor(code: ErrorCode, message: string, detail: ErrorDetail = {}, options?: { cause?: unknown }) {
    // URLs come from files of others, and a message goes everywhere.
    super(redactUserInfo(message), options)
    this.name = 'AgentError'
    this.code = code
    this.detail = detail
  }

  /** What the operator should do, in one sentence. */
  get remedy(): string {
    return ERRORS[this.code].remedy
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable
  }
}

/** The same facts as an AgentError, as a plain value: bad input is a result, not a throw. */
export type Problem = {
  readonly code: ErrorCode
  readonly message: string
  readonly remedy: string
}

export function problem(code: ErrorCode, message: string): Problem {
  return { code, message: redactUserInfo(message), remedy: ERRORS[code].remedy }
}

/** Each bundle has a class of its own: the same by name and code, and never an instance of ours. */
function isOfAnotherBundle(thrown: unknown): thrown is Error & Pick<AgentError, 'code' | 'detail'> {
  if (!(thrown instanceof Error) || thrown.name !== 'AgentError' || !('code' in thrown)) return false
  return typeof thrown.code === 'string' && Object.hasOwn(ERRORS, thrown.code)
}

/** Turns whatever was thrown into an AgentError; what is not one already is INTERNAL. */
export function asAgentError(thrown: unknown): AgentError {
  if (thrown instanceof AgentError) return thrown
  if (isOfAnotherBundle(thrown)) return new AgentError(thrown.code, thrown.message, thrown.detail, { cause: thrown })
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  return new AgentError('INTERNAL', message, {}, { cause: thrown })
}
