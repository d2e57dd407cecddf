// The whole text of every error of a configuration: where, which key, what was expected, what was found, what was
// meant.
import t from 'tap'
import { loadFiles, told } from '../fixtures/config/fixture.ts'

/** YAML of trust.yaml → every problem, in full. */
const TABLE: { readonly [yaml: string]: readonly string[] } = {
  // YAML itself
  '': [
    'CONFIG_INVALID trust.yaml: the file is empty; the smallest useful content is "registries: [{ host: harbor.example.net, ca: corp-root.pem }]"',
  ],
  '# only a comment\n': [
    'CONFIG_INVALID trust.yaml: the file is empty; the smallest useful content is "registries: [{ host: harbor.example.net, ca: corp-root.pem }]"',
  ],
  'registries:\n\t- host: a.b\n': [
    'CONFIG_INVALID trust.yaml:2:1: YAML does not allow tabs for indentation: use spaces',
  ],
  'mode: audit\nmode: audit\n': ['CONFIG_INVALID trust.yaml:2:1: the key "mode" appears twice in the same map'],
  'mode: "audit\n': ['CONFIG_INVALID trust.yaml:2:1: not valid YAML: Missing closing "quote'],
  'registries: [\n': [
    'CONFIG_INVALID trust.yaml:2:1: not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]',
  ],
  'mode: @audit\n': [
    'CONFIG_INVALID trust.yaml:1:7: a value that begins with a special character (@ ` %) must be put in quotes',
  ],
  'mode: a: b\n': [
    'CONFIG_INVALID trust.yaml:1:7: a second ": " on one line: put the value in quotes or on its own line',
  ],
  'mode: audit\nhunter2\n': ['CONFIG_INVALID trust.yaml:2:1: a line without a colon: a key must be followed by ": "'],
  '  mode: audit\n hunter2: 1\n': ['CONFIG_INVALID trust.yaml:2:2: unexpected text: is the indentation right?'],
  'mode: audit\n---\nmode: audit\n': [
    'CONFIG_INVALID trust.yaml:2:1: a second YAML document ("---") begins here: one file holds one document',
  ],
  'mode: !!binary YQ==\n': ['CONFIG_INVALID trust.yaml:1:7: YAML tags (!name) are not supported here'],
  'mode: !x audit\n': ['CONFIG_INVALID trust.yaml:1:7: YAML tags (!name) are not supported here'],
  '? [a]\n: b\n': ['CONFIG_INVALID trust.yaml:1:3: a key must be plain text'],
  'mode: *x\n': ['CONFIG_INVALID trust.yaml:1:7: an alias (*name) has no anchor (&name) before it'],
  'registries: &x [*x]\n': ['CONFIG_INVALID trust.yaml:1:17: an alias (*name) refers to itself'],
  'mode: "\\q"\n': [
    'CONFIG_INVALID trust.yaml:1:8: an unknown escape sequence is in double quotes: write \\\\ for a backslash, or use single quotes',
  ],
  'mode: "\u0001"\n': ['CONFIG_INVALID trust.yaml: the file holds a control character in line 1: it is not YAML text'],
  // shapes
  hunter2: ['CONFIG_INVALID trust.yaml:1:1: the file must be a map, found a text'],
  '- host: a.b\n': ['CONFIG_INVALID trust.yaml:1:1: the file must be a map, found a list'],
  '{}': [
    'CONFIG_INVALID trust.yaml:1:1: declares neither registries nor anchors; write "registries: []" if this node is to trust no private registry',
  ],
  'mode: audit': [
    'CONFIG_INVALID trust.yaml:1:1: declares neither registries nor anchors; write "registries: []" if this node is to trust no private registry',
  ],
  'registries:\n': ['CONFIG_INVALID trust.yaml:1:1: registries must be a list, found nothing'],
  'registries: harbor.example.net': [
    'CONFIG_INVALID trust.yaml:1:13: registries must be a list, found "harbor.example.net"',
  ],
  'registries:\n  host: a.b\n': [
    'CONFIG_INVALID trust.yaml:2:3: registries must be a list, found a map: begin each item with "- "',
  ],
  'registries: [harbor.example.net]': [
    'CONFIG_INVALID trust.yaml:1:14: registries[0] must be a map, found "harbor.example.net"',
  ],
  'registries: [{ ca: a.pem }]': ['CONFIG_INVALID trust.yaml:1:14: registries[0] must have the key host'],
  'registries: [{ host: 0123 }]': [
    'CONFIG_INVALID trust.yaml:1:22: registries[0].host must be a text, found the number 0123: put it in quotes',
  ],
  'registries: [{ host: "" }]': ['CONFIG_INVALID trust.yaml:1:22: registries[0].host must not be empty'],
  'registries: [{ host: a.b, ca: }]': [
    'CONFIG_INVALID trust.yaml:1:27: registries[0].ca must be a text, found nothing',
  ],
  'registries: [{ host: a.b, anchors: corp }]': [
    'CONFIG_INVALID trust.yaml:1:36: registries[0].anchors must be a list, found "corp"',
  ],
  'registries: [{ host: a.b, credentials: user:hunter2 }]': [
    'CONFIG_INVALID trust.yaml:1:40: registries[0].credentials must be a map, found a text',
  ],
  // unknown keys
  'registry: []\nregistries: []': [
    'CONFIG_INVALID trust.yaml:1:1: registry is an unknown key; did you mean registries?',
  ],
  'registries: [{ hots: a.b }]': [
    'CONFIG_INVALID trust.yaml:1:14: registries[0] must have the key host',
    'CONFIG_INVALID trust.yaml:1:16: registries[0].hots is an unknown key; did you mean host?',
  ],
  'registries: [{ host: a.b, every: 10m }]': [
    'CONFIG_INVALID trust.yaml:1:27: registries[0].every is an unknown key; it belongs to registries[].proof',
  ],
  'registries: []\nstrategy: never': [
    'CONFIG_INVALID trust.yaml:2:1: strategy is an unknown key; it belongs to restart',
  ],
  'registries: []\ndrift: { zzz: 1 }': [
    'CONFIG_INVALID trust.yaml:2:10: drift.zzz is an unknown key; known here: resync, heal, spread, stopAfterFights',
  ],
  'registries: []\n<<: { mode: audit }': [
    'CONFIG_INVALID trust.yaml:2:1: ["<<"] is an unknown key; known here: mode, anchors, registries, distrust, targets, containerd, restart, policy, fleet, publish, log, drift',
  ],
  'registries: []\nlog: { level: loud }': [
    'CONFIG_INVALID trust.yaml:2:15: log.level must be debug, info, warn or error, found "loud"',
  ],
  'registries: []\n__proto__: 1': [
    'CONFIG_INVALID trust.yaml:2:1: __proto__ is an unknown key; known here: mode, anchors, registries, distrust, targets, containerd, restart, policy, fleet, publish, log, drift',
  ],
  // values
  'registries: []\nmode: Audit': [
    'CONFIG_INVALID trust.yaml:2:7: mode must be enforce or audit, found "Audit"; did you mean audit?',
  ],
  'registries: []\nrestart: { strategy: system }': [
    'CONFIG_INVALID trust.yaml:2:22: restart.strategy must be auto, systemd, signal or never, found "system"; did you mean systemd?',
  ],
  'registries: []\ntargets: { systemTrust: { enabled: yes } }': [
    'CONFIG_INVALID trust.yaml:2:36: targets.systemTrust.enabled must be auto, true or false, found "yes": write true without quotes',
  ],
  'registries: []\ndrift: { heal: off }': [
    'CONFIG_INVALID trust.yaml:2:16: drift.heal must be true or false, found "off": write false without quotes',
  ],
  'registries: []\ndrift: { resync: 10 }': [
    'CONFIG_INVALID trust.yaml:2:18: drift.resync must be a text, found the number 10: put it in quotes',
  ],
  'registries: []\ndrift: { resync: 10min }': [
    'CONFIG_INVALID trust.yaml:2:18: drift.resync must be a duration such as 30s, 10m or 1h30m, found "10min"',
  ],
  'registries: []\ndrift: { resync: 25h }': [
    'CONFIG_INVALID trust.yaml:2:18: drift.resync must be between 1s and 24h, found "25h"',
  ],
  'registries: []\ndrift: { stopAfterFights: 0 }': [
    'CONFIG_INVALID trust.yaml:2:27: drift.stopAfterFights must be at least 1, found the number 0',
  ],
  'registries: []\nrestart: { budget: { maxPerHour: 1e3 } }': [
    'CONFIG_INVALID trust.yaml:2:34: restart.budget.maxPerHour must be at most 60, found the number 1e3',
  ],
  'registries: []\nrestart: { budget: { maxPerHour: .nan } }': [
    'CONFIG_INVALID trust.yaml:2:34: restart.budget.maxPerHour must be a whole number, found the number .nan',
  ],
  'registries: []\nrestart: { budget: { backoff: { min: 1h } } }': [
    'CONFIG_INVALID trust.yaml:2:38: restart.budget.backoff.min is not in order: the first pause 1h is longer than the longest one 30m',
  ],
  'registries: []\nrestart: { unit: containerd }': [
    'CONFIG_INVALID trust.yaml:2:18: restart.unit must be auto or the name of a unit such as containerd.service, found "containerd"',
  ],
  'registries: []\ntargets: { systemTrust: { fileName: "{nam}.pem" } }': [
    'CONFIG_INVALID trust.yaml:2:37: targets.systemTrust.fileName must be a file name that holds {name} once, ends with .pem and holds only letters, digits, ".", "_" and "-" besides, found "{nam}.pem"',
  ],
  'registries: []\ntargets: { systemTrust: { fileName: "../{name}.pem" } }': [
    'CONFIG_INVALID trust.yaml:2:37: targets.systemTrust.fileName must be a file name that holds {name} once, ends with .pem and holds only letters, digits, ".", "_" and "-" besides, found "../{name}.pem"',
  ],
  'registries: []\npolicy: { forbidAnchorsFor: [Docker.io] }': [
    'CONFIG_INVALID trust.yaml:2:30: policy.forbidAnchorsFor[0] must be in lower case, found "Docker.io"; did you mean docker.io?',
  ],
  'registries: []\npolicy: { minRsaBits: 512 }': [
    'CONFIG_INVALID trust.yaml:2:23: policy.minRsaBits must be at least 1024, found the number 512',
  ],
  // anchors
  'anchors: { x: {} }': ['CONFIG_INVALID trust.yaml:1:12: anchors.x must have one of the keys file and pem'],
  'anchors: { x: { file: a, pem: b } }': [
    'CONFIG_INVALID trust.yaml:1:26: anchors.x must have only one of the keys file and pem',
  ],
  'anchors: { .x: { file: a } }': [
    'CONFIG_INVALID trust.yaml:1:12: anchors[".x"] is not a valid key: it must be a name of letters, digits, ".", "_" and "-" (at most 100, not beginning with "." or "-"); it becomes a file name',
  ],
  'anchors: { x: { file: ../a.pem } }': [
    'CONFIG_INVALID trust.yaml:1:23: anchors.x.file must not lead out of the configuration folder with "..", found "../a.pem"',
  ],
  'anchors: { x: { file: /a/../../b } }': [
    'CONFIG_INVALID trust.yaml:1:23: anchors.x.file must not lead out of the configuration folder with "..", found "/a/../../b"',
  ],
  'anchors: { x: { file: "-----BEGIN CERTIFICATE-----" } }': [
    'CONFIG_INVALID trust.yaml:1:23: anchors.x.file must be the name of a file: certificates themselves go under anchors: { NAME: { pem: … } }',
  ],
  'anchors: { x: { file: "a\\nb" } }': [
    'CONFIG_INVALID trust.yaml:1:23: anchors.x.file must be the name of a file, without control characters',
  ],
  'anchors: { x: { file: a, pins: ["sha256:00"] } }': [
    'CONFIG_INVALID trust.yaml:1:33: anchors.x.pins[0] must be sha256: and the 64 hexadecimal digits of the SHA-256 fingerprint, found "sha256:00"',
  ],
  'anchors: { x: { file: a, pins: [] } }': [
    'CONFIG_INVALID trust.yaml:1:32: anchors.x.pins must not be an empty list: remove the key or add an item',
  ],
  'anchors: { x: { pem: 12 } }': [
    'CONFIG_INVALID trust.yaml:1:22: anchors.x.pem must be a text, found the number 12: put it in quotes',
  ],
  // registries
  'registries:\n  - host: a.b\n  - host: a.b\n': [
    'CONFIG_CONFLICT trust.yaml:3:11: registries[1].host declares "a.b" again: it is already declared at trust.yaml:2:11',
  ],
  'registries: [{ host: a.b, ca: c.pem, anchors: [] }]': [
    'CONFIG_INVALID trust.yaml:1:27: registries[0] must have only one of the keys ca and anchors: name the file as an anchor too',
  ],
  'registries: [{ host: a.b, ca: ../c.pem }]': [
    'CONFIG_INVALID trust.yaml:1:31: registries[0].ca must not lead out of the configuration folder with "..", found "../c.pem"',
  ],
  'registries: [{ host: a.b, anchors: [corp] }]': [
    'CONFIG_INVALID trust.yaml:1:37: registries[0].anchors[0] names the unknown anchor corp; no anchors are declared',
  ],
  'anchors: { corp: { file: c } }\nregistries: [{ host: a.b, anchors: [crop, corp] }]': [
    'CONFIG_INVALID trust.yaml:2:37: registries[0].anchors[0] names the unknown anchor crop; did you mean corp?',
  ],
  'anchors: { corp: { file: c } }\nregistries: [{ host: a.b, anchors: [corp, corp] }]': [
    'CONFIG_INVALID trust.yaml:2:43: registries[0].anchors[1] repeats item [0]',
  ],
  'registries: [{ host: "*" }]': [
    'CONFIG_INVALID trust.yaml:1:22: registries[0].host must name one host: "*" needs policy.allowWildcard: true',
  ],
  'registries: [{ host: Harbor.example.net }]': [
    'CONFIG_INVALID trust.yaml:1:22: registries[0].host must be in lower case, found "Harbor.example.net"; did you mean harbor.example.net?',
  ],
  'registries: [{ host: docker.io, ca: c.pem }]': [
    'ANCHOR_FORBIDDEN trust.yaml:1:33: registries[0].ca is not allowed for docker.io: policy.forbidAnchorsFor lists it',
  ],
  'anchors: { c: { file: c } }\npolicy: { forbidAnchorsFor: [a.b] }\nregistries: [{ host: "a.b:443", anchors: [c] }]': [
    'ANCHOR_FORBIDDEN trust.yaml:3:33: registries[0].anchors is not allowed for a.b:443: policy.forbidAnchorsFor lists it',
  ],
  'registries: [{ host: a.b, proof: { image: c.d/x } }]': [
    'CONFIG_INVALID trust.yaml:1:43: registries[0].proof.image must be an image on the registry itself, such as a.b/library/pause:3.10, found "c.d/x"',
  ],
  'registries: [{ host: a.b, proof: { level: pull } }]': [
    'CONFIG_INVALID trust.yaml:1:43: registries[0].proof.level is pull, which needs the key image beside it',
  ],
  'registries: [{ host: a.b, proof: { every: 0s } }]': [
    'CONFIG_INVALID trust.yaml:1:43: registries[0].proof.every must be between 1s and 24h, found "0s"',
  ],
  // known, but not done yet
  // endpoints and logins
  'registries: [{ host: a.b, fallback: false }]': [
    'CONFIG_INVALID trust.yaml:1:37: registries[0].fallback is false, which needs mirrors to be asked instead',
  ],
  'registries: [{ host: a.b, skipVerify: true }]': [
    'CONFIG_INVALID trust.yaml:1:39: registries[0].skipVerify is true, which needs policy.allowSkipVerify: true',
  ],
  'registries: [{ host: a.b, plainHttp: true }]': [
    'CONFIG_INVALID trust.yaml:1:38: registries[0].plainHttp is true, which needs policy.allowPlainHttp: true',
  ],
  'policy: { allowPlainHttp: true }\nregistries: [{ host: a.b, ca: x, plainHttp: true }]': [
    'CONFIG_INVALID trust.yaml:2:45: registries[0].plainHttp is true, but anchors are declared: plain HTTP has no certificates',
  ],
  'registries: [{ host: a.b, mirrors: [{ url: "http://m.lab" }] }]': [
    'CONFIG_INVALID trust.yaml:1:44: registries[0].mirrors[0].url must begin with https://: plain HTTP needs policy.allowPlainHttp: true',
  ],
  'registries: [{ host: a.b, mirrors: [{ url: "https://u:hunter2@m.lab" }] }]': [
    'CONFIG_INVALID trust.yaml:1:44: registries[0].mirrors[0].url must not hold a user or a password',
  ],
  'registries: [{ host: a.b, mirrors: [{ url: m.lab }] }]': [
    'CONFIG_INVALID trust.yaml:1:44: registries[0].mirrors[0].url must be https://HOST[:PORT][/PATH]',
  ],
  ...Object.fromEntries(
    ['%zz', '%2', '\\u0000'].map((path) => [
      `registries: [{ host: a.b, mirrors: [{ url: "https://m.lab/${path}" }] }]`,
      [
        'CONFIG_INVALID trust.yaml:1:44: registries[0].mirrors[0].url must hold no control character, and "%" only before two hexadecimal digits: containerd would ignore the whole hosts.toml',
      ],
    ]),
  ),
  'registries: [{ host: a.b, mirrors: [{ url: "https://127.0.0.1:5000" }] }]': [
    'CONFIG_INVALID trust.yaml:1:44: registries[0].mirrors[0].url must not be a loopback address, found "127.0.0.1:5000": containerd does not verify certificates there, so trust can be neither set nor proved',
  ],
  'anchors: { lab: { pem: x } }\nregistries: [{ host: a.b, mirrors: [{ url: "https://m.lab", anchors: [lap] }] }]': [
    'CONFIG_INVALID trust.yaml:2:71: registries[0].mirrors[0].anchors[0] names the unknown anchor lap; did you mean lab?',
  ],
  'registries: [{ host: a.b, fallback: false, mirrors: [{ url: "https://m.lab", capabilities: [pull] }] }]': [
    'CONFIG_INVALID trust.yaml:1:92: registries[0].mirrors[0].capabilities must hold pull and resolve: without fallback this mirror is asked last',
  ],
  'registries: [{ host: a.b, headers: { Authorization: Basic } }]': [
    'CONFIG_INVALID trust.yaml:1:38: registries[0].headers.Authorization is not a valid key: it must be the name of an HTTP header that holds no credentials',
  ],
  'registries: [{ host: a.b, extra: { skip_verify: true } }]': [
    'CONFIG_INVALID trust.yaml:1:49: registries[0].extra.skip_verify has a name of its own in trust.yaml: skipVerify',
  ],
  'registries: [{ host: a.b, mirrors: [{ url: "https://m.lab", extra: { dial_timeout: 30 } }] }]': [
    'CONFIG_INVALID trust.yaml:1:84: registries[0].mirrors[0].extra.dial_timeout must be a duration of Go, as "30s"',
  ],
  'registries: [{ host: a.b, extra: { x: { y: 1 } } }]': [
    'CONFIG_INVALID trust.yaml:1:39: registries[0].extra.x must be a text or a whole number or true or false or a list, found a map',
  ],
  'registries: [{ host: a.b, extra: { Dial-Timeout: 5s } }]': [
    'CONFIG_INVALID trust.yaml:1:36: registries[0].extra.Dial-Timeout is not a valid key: it must be the name of a key in hosts.toml',
  ],
  'registries: [{ host: a.b, credentials: {} }]': [
    'CONFIG_INVALID trust.yaml:1:27: registries[0].credentials must have exactly one of the keys dockerConfigFile, passwordFile (with usernameFile) and tokenFile',
  ],
  'registries: [{ host: a.b, credentials: { dockerConfigFile: c, tokenFile: t } }]': [
    'CONFIG_INVALID trust.yaml:1:27: registries[0].credentials must have exactly one of the keys dockerConfigFile, passwordFile (with usernameFile) and tokenFile',
  ],
  'registries: [{ host: a.b, credentials: { passwordFile: p } }]': [
    'CONFIG_INVALID trust.yaml:1:27: registries[0].credentials has passwordFile, which needs usernameFile beside it',
  ],
  'registries: [{ host: a.b, credentials: { dockerConfigFile: c, usernameFile: u } }]': [
    'CONFIG_INVALID trust.yaml:1:27: registries[0].credentials has usernameFile, which has no effect beside dockerConfigFile',
  ],
  'registries: [{ host: a.b, credentials: { tokenFile: ../t } }]': [
    'CONFIG_INVALID trust.yaml:1:53: registries[0].credentials.tokenFile must not lead out of the configuration folder with "..", found "../t"',
  ],
  'policy: { allowWildcard: true }\nregistries: [{ host: "*", credentials: { tokenFile: t } }]': [
    'CONFIG_INVALID trust.yaml:2:27: registries[0].credentials does not apply to host "*", which names no registry',
  ],
}

t.test('every error says where, which key, what was expected and what was found', async (t) => {
  const folder = t.testdir()
  for (const [yaml, expected] of Object.entries(TABLE)) {
    const result = await loadFiles(folder, { 'trust.yaml': yaml })
    t.equal(result.ok, false, JSON.stringify(yaml))
    t.same(told(result.problems, folder), expected, JSON.stringify(yaml))
    t.ok(result.problems.every((problem) => problem.remedy.length > 10))
  }
})

t.test('what is written out although it is the default is no error', async (t) => {
  const folder = t.testdir()
  const yaml = `registries:
  - { host: a.b, fallback: true, skipVerify: false, plainHttp: false, mirrors: [], proof: { level: manifest } }
targets: { docker: { enabled: auto }, containers: { enabled: false }, containerd: { layout: hosts } }
`
  const result = await loadFiles(folder, { 'trust.yaml': yaml })
  t.same(told(result.problems, folder), [])
  t.equal(result.ok, true)
})

t.test('all problems of a file are told at once, in their order', async (t) => {
  const folder = t.testdir()
  const yaml = `drift: { heal: 1 }
registries:
  - { host: B.c, proof: { level: pull }, skipVerify: true, zzz: 1 }
  - { host: localhost }
mode: x
`
  const { problems } = await loadFiles(folder, { 'trust.yaml': yaml })
  t.same(
    told(problems, folder).map((text) => text.split(' ').slice(0, 3).join(' ')),
    [
      'CONFIG_INVALID trust.yaml:1:16: drift.heal',
      'CONFIG_INVALID trust.yaml:3:13: registries[0].host',
      'CONFIG_INVALID trust.yaml:3:34: registries[0].proof.level',
      'CONFIG_INVALID trust.yaml:3:54: registries[0].skipVerify',
      'CONFIG_INVALID trust.yaml:3:60: registries[0].zzz',
      'CONFIG_INVALID trust.yaml:4:13: registries[1].host',
      'CONFIG_INVALID trust.yaml:5:7: mode',
    ],
  )
})

t.test('the number of problems told is bounded', async (t) => {
  const folder = t.testdir()
  const { problems } = await loadFiles(folder, { 'trust.yaml': `registries: [${'{ host: A.b }, '.repeat(80)}]` })
  t.equal(problems.length, 51)
  t.equal(problems.at(-1)?.message, '109 more problems are not shown')
})

t.test('refuses bytes that are not a text file', async (t) => {
  const folder = t.testdir()
  const table: readonly (readonly [Buffer, string])[] = [
    [Buffer.from('\ufeffmode: audit', 'utf16le'), 'CONFIG_INVALID trust.yaml: the file is UTF-16: save it as UTF-8'],
    [Buffer.from([0x6d, 0xff, 0xfe]), 'CONFIG_INVALID trust.yaml: the file is not UTF-8 text'],
  ]
  for (const [bytes, expected] of table)
    t.same(told((await loadFiles(folder, { 'trust.yaml': bytes })).problems, folder), [expected])
  t.equal(
    (await loadFiles(folder, { 'trust.yaml': '\ufeffregistries: []\r\n' })).ok,
    true,
    'a UTF-8 mark and CRLF are fine',
  )
})

t.test('hostile input is refused quickly', { timeout: 20_000 }, async (t) => {
  const folder = t.testdir()
  const mib = 1024 * 1024
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefgh'.replace(/./g, (letter, at) => `${letter}: &${letter} [${`*${'abcdefgh'[at]},`.repeat(9)}]\n`)}`
  const table: readonly (readonly [string, string, string])[] = [
    [
      '10 MiB',
      'registries: []\n'.repeat(mib * 0.7),
      'CONFIG_TOO_LARGE trust.yaml: the file has 11010045 bytes, more than the 1048576 allowed',
    ],
    ['alias bomb', bomb, 'CONFIG_INVALID trust.yaml:1:1: holds more than 100000 values once its aliases are expanded'],
    [
      'a megabyte of brackets',
      '['.repeat(mib),
      'CONFIG_INVALID trust.yaml:1:1: holds more than 150000 YAML tokens: split the file',
    ],
    [
      'nesting',
      `registries: ${'['.repeat(200)}${']'.repeat(200)}`,
      'CONFIG_INVALID trust.yaml:1:1: is nested too deeply',
    ],
    [
      'deeper nesting',
      `registries: ${'['.repeat(70_000)}${']'.repeat(70_000)}`,
      'CONFIG_INVALID trust.yaml:1:1: is nested too deeply',
    ],
  ]
  for (const [name, yaml, expected] of table) {
    const started = performance.now()
    const { problems } = await loadFiles(folder, { 'trust.yaml': yaml })
    t.same(told(problems, folder), [expected], name)
    t.ok(performance.now() - started < 5000, `${name} took less than 5 s`)
  }
  const many = await loadFiles(folder, { 'trust.yaml': `registries: [${'0,'.repeat(60_000)}]` })
  t.equal(many.problems.length, 51)
  t.equal((await loadFiles(folder, { 'trust.yaml': `registries: [${'{host: a.b},'.repeat(1001)}]` })).ok, false)
})
