// The JSON Schema of trust.yaml: the one place that knows every key, its type, its default and what it means.
// Shipped to users as docs/trust.schema.json (a test keeps the two equal), so that editors complete and check the file.
// `x-expected` is what the message asks for where a pattern does not match.
// This room: the form of trust.yaml: keys, types, defaults, and the messages when they are not met.
// Begin here; then validate.ts (the messages), compiled.ts (the validator). docs/trust.schema.json is made of it.
// May touch: nothing.
import { LOG_LEVELS } from '../../model/log-level.ts'
import { condition } from './condition.ts'
import { fleet } from './fleet.ts'
import { anchorName, anchorNames, bool, duration, enabled, fileName, fingerprint, objectName } from './parts.ts'

export const MAX_REGISTRIES = 1000
const MAX_ANCHORS = 500

const headers = {
  description: 'Sent with every request to this endpoint. Credentials do not belong here.',
  type: 'object',
  maxProperties: 20,
  propertyNames: {
    type: 'string',
    pattern: '^(?![Aa]uthorization$|[Pp]roxy-[Aa]uthorization$|[Cc]ookie$|[Hh]ost$)[A-Za-z0-9-]{1,100}$',
    'x-expected': 'the name of an HTTP header that holds no credentials',
  },
  additionalProperties: { type: 'string', pattern: '^[\\x20-\\x7e]{0,1000}$', 'x-expected': 'printable ASCII' },
} as const

const extra = {
  description:
    'Keys of hosts.toml that have no name here, by their name there (containerd 2.1: dial_timeout). One that no known containerd reads is refused; one that is newer than the containerd of a node is left out there, with a warning.',
  type: 'object',
  maxProperties: 20,
  propertyNames: {
    type: 'string',
    pattern: '^[a-z][a-z0-9_]{0,60}$',
    'x-expected': 'the name of a key in hosts.toml',
  },
  additionalProperties: {
    type: ['string', 'integer', 'boolean', 'array'],
    pattern: '^[\\x20-\\x7e]{0,1000}$',
    'x-expected': 'a string of printable ASCII, a whole number, true, false or a list of strings',
    maxItems: 20,
    items: { type: 'string', pattern: '^[\\x20-\\x7e]{0,1000}$', 'x-expected': 'printable ASCII' },
  },
} as const

const anchor = {
  description: 'A trust anchor: one or more CA certificates. Exactly one of `file` and `pem`.',
  type: 'object',
  additionalProperties: false,
  properties: {
    file: fileName('File with the certificates: PEM, DER or base64 of one of them, recognised by content.'),
    pem: { description: 'The certificates themselves, as PEM text.', type: 'string', minLength: 1 },
    passwordFile: fileName('File with the password of a PKCS#12 store or a Java keystore.'),
    when: condition,
    scope: {
      description:
        'system: in the system store of the node too; registries: only for the registries and mirrors that name it. Absent: system in the first trust.yaml, registries in a fragment.',
      type: 'string',
      enum: ['system', 'registries'],
    },
    pins: {
      description: 'Accept only certificates with these SHA-256 fingerprints.',
      type: 'array',
      minItems: 1,
      maxItems: 500,
      items: fingerprint,
    },
  },
} as const

const registry = {
  description: 'A registry that the node should trust.',
  type: 'object',
  additionalProperties: false,
  required: ['host'],
  properties: {
    host: {
      description: 'HOST or HOST:PORT, exactly as image references spell it.',
      type: 'string',
      minLength: 1,
      maxLength: 300,
    },
    when: condition,
    ca: fileName('File with the CA certificates: short for one unnamed anchor.'),
    anchors: anchorNames('Names of the trust anchors that verify this registry. None: what the node trusts anyway.'),
    clientCertificate: {
      description: 'Client certificate that the registry asks for.',
      type: 'object',
      additionalProperties: false,
      required: ['certFile', 'keyFile'],
      properties: { certFile: fileName('Certificate, PEM.'), keyFile: fileName('Private key, PEM.') },
    },
    mirrors: {
      description: 'Endpoints that are tried before the registry itself, in order.',
      type: 'array',
      maxItems: 20,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['url'],
        properties: {
          url: { description: 'https://HOST[:PORT][/PATH]', type: 'string', minLength: 1, maxLength: 1000 },
          anchors: anchorNames('Names of the trust anchors that verify the mirror.'),
          capabilities: {
            description: 'What the mirror is asked for.',
            type: 'array',
            items: { type: 'string', enum: ['pull', 'resolve', 'push'] },
            uniqueItems: true,
            default: ['pull', 'resolve'],
          },
          overridePath: bool('The path of `url` stands in place of /v2.', false),
          headers,
          extra,
        },
      },
    },
    headers,
    extra,
    addresses: {
      description:
        "IPv4 and IPv6 addresses of the host, kept in the node's hosts file for every program of the node: for a name that the node's resolver does not know.",
      type: 'array',
      minItems: 1,
      maxItems: 16,
      uniqueItems: true,
      items: { type: 'string', minLength: 1, maxLength: 100 },
    },
    fallback: bool('false: never fall back from the mirrors to the registry itself.', true),
    skipVerify: bool('Do not verify the certificate; needs policy.allowSkipVerify.', false),
    plainHttp: bool('Speak plain HTTP; needs policy.allowPlainHttp.', false),
    credentials: {
      description: 'Login used only for proofs; never written to the node.',
      type: 'object',
      additionalProperties: false,
      properties: {
        dockerConfigFile: fileName('A .dockerconfigjson.'),
        usernameFile: fileName('File with the user name.'),
        passwordFile: fileName('File with the password.'),
        tokenFile: fileName('File with a bearer token (OpenShift).'),
        hosts: {
          description:
            'Hosts that may get this login besides the registry itself: its token service, its mirrors. No other host ever gets it.',
          type: 'array',
          items: { type: 'string', minLength: 1, maxLength: 300 },
          uniqueItems: true,
          maxItems: 20,
        },
      },
    },
    proof: {
      description: 'How trust in this registry is proved.',
      type: 'object',
      additionalProperties: false,
      properties: {
        image: {
          description: 'Image on this registry; absent: a tag that does not exist.',
          type: 'string',
          minLength: 1,
          maxLength: 600,
        },
        level: {
          description: 'tls: handshake; manifest: one HEAD through containerd; pull: a real pull.',
          enum: ['tls', 'manifest', 'pull'],
          default: 'manifest',
        },
        every: duration('How often the proof is repeated (1s to 24h).', '10m'),
        leavesImage: {
          description:
            'true: a pull with a login may leave its image, which any Pod of the node may then start without that login.',
          type: 'boolean',
          default: false,
        },
      },
    },
  },
} as const

const targets = {
  description: 'Places on the node that get the trust anchors.',
  type: 'object',
  additionalProperties: false,
  properties: {
    systemTrust: {
      description: 'The system store, /etc/ssl/certs.',
      type: 'object',
      additionalProperties: false,
      properties: {
        when: condition,
        enabled: enabled('auto: where it is writable.'),
        fileName: {
          description: 'Name of the file for each anchor.',
          type: 'string',
          maxLength: 100,
          pattern: '^(?!\\.)[A-Za-z0-9._-]*\\{name\\}[A-Za-z0-9._-]*\\.pem$',
          'x-expected':
            'a file name that holds {name} once, ends with .pem and holds only letters, digits, ".", "_" and "-" besides',
          default: '{name}.pem',
        },
      },
    },
    containerd: {
      description: "containerd's registry configuration.",
      type: 'object',
      additionalProperties: false,
      properties: {
        enabled: enabled('false: nothing that containerd reads is written, and a node without containerd is no fault.'),
        layout: {
          description:
            'hosts: hosts.toml; legacy: registry.configs in config.toml (containerd 1.x only; CA files and client certificates); auto: hosts.',
          enum: ['auto', 'hosts', 'legacy'],
          default: 'auto',
        },
      },
    },
    docker: {
      description: '/etc/docker/certs.d.',
      type: 'object',
      additionalProperties: false,
      properties: { when: condition, enabled: enabled('auto: where its folder exists.') },
    },
    containers: {
      description: '/etc/containers/certs.d: CRI-O, podman, buildah, skopeo.',
      type: 'object',
      additionalProperties: false,
      properties: { when: condition, enabled: enabled('auto: where its folder exists.') },
    },
    k3s: {
      description: 'registries.yaml of k3s and RKE2, so that their next start keeps what hosts.toml says now.',
      type: 'object',
      additionalProperties: false,
      properties: {
        when: condition,
        enabled: enabled('auto: on their nodes, where /etc/rancher/k3s or /etc/rancher/rke2 exists.'),
      },
    },
    crictl: {
      description: '/etc/crictl.yaml: the CRI socket of this node.',
      type: 'object',
      additionalProperties: false,
      properties: {
        when: condition,
        enabled: bool('Write the socket there. `doctor` checks the file in any case.', false),
      },
    },
    hostsFile: {
      description: '/etc/hosts: the addresses of registries that declare some.',
      type: 'object',
      additionalProperties: false,
      properties: {
        when: condition,
        enabled: bool('Keep the `addresses` of registries there.', true),
      },
    },
  },
} as const

const restart = {
  description: 'Whether and how containerd may be restarted, where a change needs it.',
  type: 'object',
  additionalProperties: false,
  properties: {
    when: condition,
    strategy: {
      description: 'systemd: over D-Bus; signal: SIGTERM, a supervisor starts it again; never: report only.',
      enum: ['auto', 'systemd', 'signal', 'never'],
      default: 'auto',
    },
    permit: {
      description: 'local: each node decides alone; fleet: a restart waits for a grant of the fleet component.',
      enum: ['local', 'fleet'],
      default: 'local',
    },
    unit: {
      description: 'systemd unit of containerd; auto: found from its process.',
      type: 'string',
      maxLength: 255,
      pattern: '^(?:auto|[A-Za-z0-9:_.@\\\\-]+\\.service)$',
      'x-expected': 'auto or the name of a unit such as containerd.service',
      default: 'auto',
    },
    budget: {
      description: 'Limits of automatic restarts.',
      type: 'object',
      additionalProperties: false,
      properties: {
        maxPerHour: { description: 'Restarts in one hour.', type: 'integer', minimum: 0, maximum: 60, default: 3 },
        backoff: {
          description: 'Pause after a failed attempt, doubled each time.',
          type: 'object',
          additionalProperties: false,
          properties: {
            min: duration('First pause (1s to 24h).', '1m'),
            max: duration('Longest pause (1s to 24h).', '30m'),
          },
        },
      },
    },
    window: {
      description: 'Restart only at these times. A window that ends before it begins goes over midnight.',
      type: 'object',
      additionalProperties: false,
      required: ['from', 'to'],
      properties: {
        days: {
          description: 'Days of the week on which it begins; every day where none is named.',
          type: 'array',
          items: { type: 'string', enum: ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'] },
          uniqueItems: true,
        },
        from: { description: 'HH:MM', type: 'string', pattern: '^(?:[01][0-9]|2[0-3]):[0-5][0-9]$' },
        to: { description: 'HH:MM', type: 'string', pattern: '^(?:[01][0-9]|2[0-3]):[0-5][0-9]$' },
        timeZone: { description: 'IANA name, such as Europe/Berlin; UTC where none is named.', type: 'string' },
      },
    },
  },
} as const

export const TRUST_SCHEMA = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  title: 'trust.yaml of registry-trust',
  description: 'Which private registries the nodes of a cluster should trust, and how.',
  type: 'object',
  additionalProperties: false,
  properties: {
    mode: {
      description: 'enforce; audit: report drift and the plan, change nothing.',
      enum: ['enforce', 'audit'],
      default: 'enforce',
    },
    anchors: {
      description: 'Named trust anchors.',
      type: 'object',
      maxProperties: MAX_ANCHORS,
      propertyNames: anchorName,
      additionalProperties: anchor,
    },
    registries: {
      description: 'The registries that the node should trust.',
      type: 'array',
      maxItems: MAX_REGISTRIES,
      items: registry,
    },
    distrust: {
      description:
        'Certificates that the distribution ships and this node should not trust. Exactly one of `fingerprint` and `file` each.',
      type: 'array',
      maxItems: 500,
      items: {
        type: 'object',
        additionalProperties: false,
        properties: {
          fingerprint: { ...fingerprint, description: 'SHA-256 fingerprint of the certificate.' },
          file: fileName('File with the certificates, in any form that an anchor may have.'),
        },
      },
    },
    targets,
    containerd: {
      description: "What else is set in containerd's configuration.",
      type: 'object',
      additionalProperties: false,
      properties: {
        sandboxImage: {
          description:
            'The sandbox (pause) image. Pulled through the CRI first; set only once it is on the node for its architecture.',
          type: 'string',
          maxLength: 400,
          pattern:
            '^[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*)+(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$',
          'x-expected': 'an image reference with its registry, such as registry.example.net/library/pause:3.10',
        },
      },
    },
    restart,
    policy: {
      description: 'What the files of registries.d and teams may ask for.',
      type: 'object',
      additionalProperties: false,
      properties: {
        allowSkipVerify: bool('Permit skipVerify: true.', false),
        allowPlainHttp: bool('Permit plainHttp: true.', false),
        allowWildcard: bool('Permit host: "*".', false),
        forbidAnchorsFor: {
          description:
            'Hosts that get no anchor of their own. A mirror of such a host, "*" and an anchor of the system store reach it too: refused in fragments, and with `strict` everywhere.',
          type: 'array',
          items: { type: 'string', minLength: 1, maxLength: 300 },
          uniqueItems: true,
          maxItems: 1000,
          default: ['docker.io'],
        },
        strict: bool(
          'Refuse what reaches a host of forbidAnchorsFor by a detour, instead of reporting it: anchors of mirrors, of "*" and of the system store.',
          false,
        ),
        allowedAnchors: {
          description: 'SHA-256 fingerprints of the only certificates that may be anchors, whoever declares them.',
          type: 'array',
          maxItems: 5000,
          items: fingerprint,
        },
        maxAnchors: {
          description: 'Anchors of all files together, those of `ca` too.',
          type: 'integer',
          minimum: 0,
          maximum: 10000,
          default: 1500,
        },
        fragments: {
          description:
            'What each fragment may declare, by its file name; "*" for those that are not named. Without this map every fragment may declare any host.',
          type: 'object',
          maxProperties: 500,
          propertyNames: {
            type: 'string',
            pattern: '^(?:\\*|[^/\\x00-\\x1f]{1,253})$',
            'x-expected': 'the file name of a fragment, such as team-b.yaml, or "*"',
          },
          additionalProperties: {
            type: 'object',
            additionalProperties: false,
            properties: {
              hosts: {
                description:
                  'HOST, HOST:PORT or *.DOMAIN of registries and mirrors; a host without a port stands for each of its ports. Absent: none.',
                type: 'array',
                maxItems: 1000,
                items: {
                  type: 'string',
                  maxLength: 300,
                  pattern: '^(?:\\*|(?:\\*\\.)?[A-Za-z0-9\\[][A-Za-z0-9._:\\]-]*)$',
                  'x-expected': 'a host such as harbor.example.net, harbor.example.net:5000 or *.example.net',
                },
              },
              anchors: {
                description:
                  'none: it may declare no anchor; registries: only for registries; system: with the scope system too.',
                type: 'string',
                enum: ['none', 'registries', 'system'],
                default: 'registries',
              },
              addresses: bool('Its registries may have `addresses`, which count for every program of the node.', false),
            },
          },
        },
        minRsaBits: {
          description: 'Anchors with shorter RSA keys are not used.',
          type: 'integer',
          minimum: 1024,
          maximum: 16384,
          default: 2048,
        },
      },
    },
    fleet,
    publish: {
      description: 'ConfigMaps of the cluster that get the anchors (`registry-trust publish`).',
      type: 'object',
      additionalProperties: false,
      properties: {
        tekton: {
          description: "Tekton's config-registry-cert, and a restart of its controller when it changes.",
          type: 'boolean',
          default: false,
        },
        configMaps: {
          description: 'Any others.',
          type: 'array',
          maxItems: 100,
          items: {
            type: 'object',
            additionalProperties: false,
            required: ['namespace', 'name'],
            properties: {
              namespace: objectName('Namespace of the ConfigMap.'),
              name: objectName('Name of the ConfigMap.'),
              key: {
                description: 'Key that gets the bundle.',
                type: 'string',
                pattern: '^[-._a-zA-Z0-9]{1,253}$',
                'x-expected': 'a key of letters, digits, "-", "_" and "."',
              },
              format: {
                description:
                  'bundle: all certificates in one key; certs.d: one key for each host, a port written HOST..PORT.',
                enum: ['bundle', 'certs.d'],
                default: 'bundle',
              },
              anchors: anchorNames('Names of the anchors; none: all with the scope system.'),
              restart: {
                description:
                  'Deployments of that namespace that are restarted when their Pods may have read other content.',
                type: 'array',
                maxItems: 20,
                uniqueItems: true,
                items: objectName('Name of the Deployment.'),
              },
            },
          },
        },
      },
    },
    log: {
      description: 'The log of the daemon.',
      type: 'object',
      additionalProperties: false,
      properties: {
        level: {
          description:
            'How much is logged; a change takes effect at once, without a restart. Absent: what `--log-level` says.',
          enum: LOG_LEVELS,
        },
      },
    },
    drift: {
      description: 'What happens when somebody changes the managed files.',
      type: 'object',
      additionalProperties: false,
      properties: {
        resync: duration(
          'How often the node is compared with the desired state even if nothing seems to have changed (1s to 24h).',
          '5m',
        ),
        heal: bool('Restore what was changed.', true),
        spread: duration(
          'Apply a change within this time, spread evenly over the nodes, where no fleet component spreads it (1s to 24h); absent: at once.',
        ),
        stopAfterFights: {
          description: 'Give up on a file after this many restorations in a row.',
          type: 'integer',
          minimum: 1,
          maximum: 1000,
          default: 5,
        },
      },
    },
  },
} as const
