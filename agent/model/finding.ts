// What a proof or a diagnosis says about one registry: a code, a sentence, the remedy and the evidence.

export const FINDINGS = {
  trusted: 'No action needed.',
  'unknown-authority':
    "Declare the CA that issued the server's certificate (and configure the server to send its intermediates): no declared CA verifies it.",
  'hostname-mismatch':
    'Configure the server to present a certificate for this name, or use a name that its certificate carries.',
  expired: 'Renew the certificate of the server (or of the CA named); check the clock of the node.',
  'not-yet-valid': 'Check the clocks of the node and of the issuing CA.',
  'missing-intermediate':
    'Configure the server to send its intermediate certificate, or declare the intermediate as an anchor.',
  'no-san': "Reissue the server's certificate with subjectAltName entries: the common name is no longer considered.",
  'weak-signature': "Reissue the server's certificate with SHA-256 or better.",
  'tls-version': 'Configure the server to offer TLS 1.2 or newer.',
  'client-certificate-required': 'Declare clientCertificate for this registry.',
  'plain-http': 'The server speaks plain HTTP on this port: use its TLS port, or enable TLS there.',
  unauthorized: 'Trust is established; declare credentials that may pull from this registry.',
  'login-refused':
    'Trust is established; the registry refuses the declared credentials: correct them. They are not sent again until they change.',
  'login-expired': 'Trust is established; the declared token has expired: renew it.',
  'login-untried':
    'Trust is established; the login could not be tried: resolve the reason given. Until then containerd does not get the credentials.',
  forbidden: 'Trust is established; the credentials lack the right to pull: grant it in the registry.',
  'not-found': 'Trust is established; the image named for the proof does not exist: correct proof.image.',
  'rate-limited': 'Trust is established; the registry limits requests: wait or use credentials.',
  'server-error': "Trust is established; the registry answers with a server error: see the registry's log.",
  dns: 'The name does not resolve on this node: check DNS and /etc/hosts of the node, or declare its `addresses`.',
  'cluster-dns':
    "containerd asks the node's resolver, which does not know the DNS of the cluster: give the registry a name in the DNS of the network, or expose it (Ingress, LoadBalancer, NodePort) under such a name and pull by it, or declare `addresses` of the registry that nodes can reach (a fixed clusterIP, a LoadBalancer).",
  refused: 'Nothing listens on this address and port: check that the registry runs and the port is right.',
  'connection-closed':
    'The connection ends without an answer: check that the server knows this name (SNI), and check its log and any firewalls and load balancers in between.',
  timeout: 'The registry does not answer in time: check the network path, firewall and proxy.',
  'proxy-interception': 'A proxy presents its own certificate: declare its CA, or exempt the registry from the proxy.',
  'proxy-error': "The proxy refuses the connection: check the proxy settings of containerd's unit.",
  'not-tls': 'Another service listens on this port: check the host and the port.',
  'plain-http-redirect':
    'The registry does not know that a proxy in front of it terminates TLS: set its external URL (https), and configure the proxy to send X-Forwarded-Proto: https.',
  'login-page':
    "A web page answers in the registry's place: configure the login portal, captive portal or web server to pass /v2/ to the registry. Do not declare the CA of the page.",
  'redirect-loop': 'The server redirects in a loop: correct its redirects for paths below /v2/.',
  'not-a-registry': 'The server answers, but not as a registry: check host, port and path.',
  'registry-warning': 'Trust is established; do what the warning of the registry asks for before it takes effect.',
  'token-host-untrusted':
    'The token service uses a certificate of another CA: add that CA to the anchors of this registry.',
  'blob-host-untrusted':
    'Layers come from another host with a certificate of another CA: add that CA to the anchors of this registry.',
  'ca-file-unreadable': 'containerd cannot read the CA file named in hosts.toml: restore it or let the agent heal it.',
  'hosts-file-ignored':
    'Restart containerd where it has not loaded config_path (profile full does so, within the limits of `restart`); correct hosts.toml where it does not parse.',
  'bad-credentials-file': 'Correct the credentials file: it cannot be decoded.',
  'sandbox-image-missing': "Pull or preload the sandbox (pause) image named in containerd's configuration.",
  'containerd-down': 'Start containerd; the agent continues when its socket answers.',
  'cri-not-loaded': 'containerd runs without its CRI plugin: repair config.toml and restart it.',
  'no-space': 'Free disk space on the node.',
  'not-proved-yet': 'Wait for the first proof, or run `registry-trust apply`.',
  unclassified:
    "See containerd's message in the evidence, and please report it so that the agent learns to recognise it.",
} as const satisfies Record<string, string>

export type FindingCode = keyof typeof FINDINGS

export type Evidence = {
  /** containerd's own words. */
  readonly text?: string
  /** The image reference that was pulled. */
  readonly reference?: string
  /** The host that the failing request went to, when it is not the registry itself. */
  readonly host?: string
  /** Anything else worth reading, one line each. */
  readonly notes?: readonly string[]
}

export type Finding = {
  readonly code: FindingCode
  readonly message: string
  readonly remedy: string
  readonly evidence: Evidence
}

export function finding(code: FindingCode, message: string, evidence: Evidence = {}): Finding {
  return { code, message, remedy: FINDINGS[code], evidence }
}

/** What keeps an image from being pulled although the certificate is fine. */
const LOGIN_FAILURES: ReadonlySet<FindingCode> = new Set([
  'login-refused',
  'login-expired',
  'login-untried',
  'bad-credentials-file',
])

export function isLoginFailure(code: FindingCode): boolean {
  return LOGIN_FAILURES.has(code)
}

/** Codes that prove TLS trust although the pull did not succeed (design: `registry_trusted` is TLS trust alone). */
const TRUST_PROVING: ReadonlySet<FindingCode> = new Set([
  'trusted',
  'unauthorized',
  'login-refused',
  'login-expired',
  'login-untried',
  'bad-credentials-file',
  'forbidden',
  'not-found',
  'rate-limited',
  'server-error',
  'registry-warning',
])

export function provesTrust(code: FindingCode): boolean {
  return TRUST_PROVING.has(code)
}

/** Codes that, on a registry that was trusted before, are a reason to roll back; network and login never are. */
const TRUST_BREAKING: ReadonlySet<FindingCode> = new Set([
  'unknown-authority',
  'hostname-mismatch',
  'expired',
  'not-yet-valid',
  'missing-intermediate',
  'no-san',
  'weak-signature',
  'ca-file-unreadable',
  'hosts-file-ignored',
])

export function breaksTrust(code: FindingCode): boolean {
  return TRUST_BREAKING.has(code)
}

/** The finding is about the runtime, not about the registry: it says nothing once the runtime answers again. */
export function isRuntimeFinding({ code }: Finding): boolean {
  return code === 'containerd-down' || code === 'cri-not-loaded'
}
