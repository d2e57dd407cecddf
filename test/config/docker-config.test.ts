import t from 'tap'
import { credentialsFor } from '../../agent/config/foreign/docker-config.ts'

const HOST = 'harbor.example.net'
const auth = (pair: string) => Buffer.from(pair).toString('base64')

/** `KIND USER:SECRET`, or why not. */
function read(auths: object, host = HOST, image?: string): string {
  const found = credentialsFor(JSON.stringify({ auths }), host, image)
  if (!found.ok) return found.reason
  const { credentials } = found
  if (credentials.kind === 'password') return `password ${credentials.username}:${credentials.password.reveal()}`
  return `${credentials.kind} ${credentials.token.reveal()}`
}

t.test('every form of an entry', async (t) => {
  t.equal(read({ [HOST]: { auth: auth('u:p') } }), 'password u:p')
  t.equal(
    read({ [HOST]: { auth: `${auth('u:p').slice(0, 2)}\n${auth('u:p').slice(2)}` } }),
    'password u:p',
    'folded lines',
  )
  t.equal(read({ [HOST]: { auth: auth('u:pad').replace(/=+$/, '') } }), 'password u:pad', 'without padding')
  t.equal(read({ [HOST]: { Auth: auth('u:p') } }), 'password u:p', "Go's fields know no case")
  t.equal(
    read({ [HOST]: { auth: auth('robot$ci+pull:a:b') } }),
    'password robot$ci+pull:a:b',
    'a colon in the password',
  )
  t.equal(read({ [HOST]: { username: 'u', password: 'p', email: 'e' } }), 'password u:p')
  t.equal(
    read({ [HOST]: { auth: auth('u:new'), username: 'u', password: 'old' } }),
    'password u:new',
    'auth wins, as for the kubelet',
  )
  t.equal(read({ [HOST]: { identitytoken: 'id', auth: auth('00000000:') } }), 'identity-token id')
  t.equal(read({ [HOST]: { registrytoken: 'rt' } }), 'registry-token rt')
})

t.test('the older .dockercfg has no "auths"', async (t) => {
  t.match(credentialsFor(JSON.stringify({ [HOST]: { auth: auth('u:p') } }), HOST), { ok: true })
})

t.test('an entry serves a host as for the kubelet', async (t) => {
  const one = { auth: auth('u:p') }
  for (const key of [
    HOST,
    `https://${HOST}`,
    `http://${HOST}/`,
    `https://${HOST}/v1/`,
    `${HOST}/v2/`,
    '*.example.net',
    'harbor.*.net',
  ])
    t.equal(read({ [key]: one }), 'password u:p', key)
  for (const key of [
    'example.net',
    '*.net',
    `${HOST}:443`,
    'harbor.example.net.',
    '*',
    `sub.${HOST}`,
    'Harbor.example.net',
  ])
    t.match(read({ [key]: one }), /^it has no entry for harbor/, key)
  t.equal(read({ '*.example.net:5000': one }, `${HOST}:5000`), 'password u:p', 'the port counts')
  t.match(read({ [HOST]: one }, `${HOST}:5000`), /only for harbor\.example\.net: the port must be the same/)
  t.equal(read({ 'https://index.docker.io/v1/': one }, 'docker.io'), 'password u:p')
})

t.test('the longest path that fits the image wins, the host alone comes after it', async (t) => {
  const auths = {
    [HOST]: { auth: auth('host:p') },
    [`${HOST}/team`]: { auth: auth('team:p') },
    [`${HOST}/team/app`]: { auth: auth('app:p') },
  }
  t.equal(read(auths, HOST, `${HOST}/team/app:1`), 'password app:p')
  t.equal(read(auths, HOST, `${HOST}/team/other:1`), 'password team:p')
  t.equal(read(auths, HOST, `${HOST}/library/x:1`), 'password host:p')
  t.equal(read(auths, HOST), 'password host:p')
  t.equal(
    read({ [`${HOST}/team`]: { auth: auth('team:p') } }),
    'password team:p',
    'without an image any login of the host will do',
  )
  t.match(
    read({ [`${HOST}/team-a`]: { auth: auth('a:p') } }, HOST, `${HOST}/team-b/app:1`),
    /only for .*\/team-a: the k/,
  )
})

t.test('keys and images as in the keyring of the kubelet', async (t) => {
  // Key, image, whether BasicDockerKeyring.Lookup finds it (pkg/credentialprovider/keyring.go of Kubernetes 1.34).
  const table: readonly (readonly [string, string, boolean])[] = [
    ['https://index.docker.io/v1/', 'docker.io/library/busybox:1', true],
    ['https://index.docker.io/v1/', 'index.docker.io/library/busybox', true],
    ['index.docker.io', 'docker.io/library/busybox', true],
    ['docker.io', 'docker.io/library/busybox', true],
    ['docker.io/team', 'docker.io/team/app@sha256:0', true],
    ['docker.io/team', 'docker.io/other/app', false],
    ['https://index.docker.io/v1/refresh-token', 'docker.io/library/busybox', false],
    ['https://index.docker.io/v1/access-token', 'docker.io/library/busybox', false],
    ['https://index.docker.io/v1', 'docker.io/library/busybox', false],
    ['registry-1.docker.io', 'docker.io/library/busybox', false],
    ['hub.docker.io', 'docker.io/library/busybox', false],
    [`${HOST}/v1`, `${HOST}/team/app`, false],
    [`${HOST}/team`, `${HOST}/team-b/app`, true],
    [`${HOST}/team/`, `${HOST}/team-b/app`, false],
    [`${HOST}/team/app:1`, `${HOST}/team/app:1`, false],
    [`https://user@${HOST}/team?x=1`, `${HOST}/team/app`, true],
    [`${HOST}:5000/team`, `${HOST}:5000/team/app:1`, true],
    [`${HOST}:5000`, `${HOST}/team/app:1`, false],
    ['*.*.net:5000/team', `${HOST}:5000/team/app`, true],
    ['*example.net', `${HOST}/app`, false],
    [`HTTPS://${HOST}`, `${HOST}/app`, false],
    ['[::1]:5000', '[::1]:5000/app:1', true],
    ['10.0.*.7', '10.0.3.7/app', true],
  ]
  for (const [key, image, found] of table) {
    const host = image.slice(0, image.indexOf('/'))
    t.equal(read({ [key]: { auth: auth('u:p') } }, host, image) === 'password u:p', found, `${key} for ${image}`)
  }
  const hub = { 'https://index.docker.io/v1/refresh-token': { auth: auth('u:r') } }
  t.match(read(hub, 'docker.io', 'docker.io/library/x'), /only for index\.docker\.io\/refresh-token: the kubelet takes/)
  t.match(read(hub, 'docker.io'), /the kubelet takes https:\/\/index\.docker\.io\/v1\//)
})

t.test('one entry that the kubelet cannot decode costs all of them', async (t) => {
  const good = { auth: auth('u:p') }
  for (const entry of [
    { auth: 'hunter2!' },
    { auth: auth('hunter2') },
    { username: 5 },
    'hunter2',
    { auth: 'dTpw ' },
  ]) {
    const found = read({ [HOST]: good, 'other.example.net': entry })
    t.match(found, /^the kubelet uses no entry of it, because the one for other\.example\.net cannot be read$/)
  }
  t.equal(
    read({ [HOST]: good, 'other.example.net': {}, 'third.example.net': null }),
    'password u:p',
    'an empty one may be',
  )
})

t.test('a login that a credential helper has is named with the helper', async (t) => {
  const reason = (config: object) => {
    const found = credentialsFor(JSON.stringify(config), HOST)
    return found.ok ? 'found' : found.reason
  }
  t.match(reason({ auths: { [HOST]: {} }, credsStore: 'desktop' }), /^the entry is empty.*"desktop".*kubectl create/)
  t.match(reason({ auths: { [HOST]: {} }, credHelpers: { [HOST]: 'ecr-login' } }), /"ecr-login"/)
  t.match(reason({ auths: { 'x.test': {} }, credHelpers: { [HOST]: 'gcloud' } }), /no entry for harbor.*"gcloud" may/)
  t.match(reason({ auths: { 'x.test': {} }, credsStore: 'pass' }), /no entry for harbor.*"pass" may have one/)
  t.match(reason({ auths: {}, credsStore: 'pass' }), /^it names a credential helper and holds no login\. The kubelet/)
  t.match(reason({ auths: { [HOST]: {} } }), /^the entry has neither "auth"/)
})

t.test('what lies around a docker config is told by name', async (t) => {
  const config = JSON.stringify({ auths: { [HOST]: { auth: auth('u:hunter2') } } })
  const encoded = auth(config)
  const data = { '.dockerconfigjson': encoded }
  const secret = { apiVersion: 'v1', kind: 'Secret', data, type: 'kubernetes.io/dockerconfigjson' }
  const table: readonly (readonly [string, RegExp])[] = [
    [encoded, /^it is not JSON: it is base64 of the JSON .*decode it once$/],
    [(encoded.match(/.{1,76}/g) ?? []).join('\n'), /base64 of the JSON/],
    [auth(encoded), /base64 of base64 of the JSON: decode it 2 times/],
    [JSON.stringify(secret), /^it is a whole Secret, not the value in it: kubectl get secret NAME -o jsonpath/],
    [JSON.stringify({ kind: 'List', items: [secret] }), /a whole list of objects/],
    [JSON.stringify(data), /the data of a Secret/],
    [`apiVersion: v1\nkind: Secret\ndata:\n  .dockerconfigjson: ${encoded}\n`, /the manifest of a Secret/],
    [`data:\n  ".dockerconfigjson": ${encoded}\n`, /the manifest of a Secret/],
    [`auths:\n  ${HOST}:\n    auth: ${auth('u:hunter2')}\n`, /it is YAML/],
    [JSON.stringify(config), /JSON in a JSON text/],
    [`\uFEFF${config}`, /byte order mark/],
    [' \n', /the file is empty/],
    ['hunter2', /^it is not JSON$/],
  ]
  for (const [text, reason] of table) {
    const found = credentialsFor(text, HOST)
    t.match(found, { ok: false, reason })
    t.notMatch(JSON.stringify(found), /hunter2|aHVudGVy/)
  }
})

t.test('what cannot be used is named, and never repeated', async (t) => {
  const table: readonly (readonly [string, RegExp])[] = [
    ['{"auths":', /^it is not JSON$/],
    ['[]', /^it is not a JSON object$/],
    ['{}', /^it has no "auths"$/],
    ['{"auths":{}}', /^its "auths" is empty$/],
    ['{"credsStore":"pass"}', /names a credential helper/],
    [JSON.stringify({ auths: { [HOST]: { auth: '§hunter2§' } } }), /^the "auth" of the entry is not base64$/],
    [JSON.stringify({ auths: { [HOST]: { auth: auth('hunter2') } } }), /not base64 of USER:PASSWORD/],
    [JSON.stringify({ auths: { [HOST]: { auth: auth(auth('u:hunter2')) } } }), /base64 of base64/],
    [JSON.stringify({ auths: { [HOST]: { username: 'hunter2' } } }), /neither "auth"/],
    [JSON.stringify({ auths: { [HOST]: 'hunter2' } }), /not an object/],
  ]
  for (const [text, reason] of table) {
    const found = credentialsFor(text, HOST)
    t.match(found, { ok: false, reason })
    t.notMatch(JSON.stringify(found), /hunter2|§/)
  }
})
