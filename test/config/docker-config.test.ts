import t from 'tap'
import { credentialsFor } from '../../agent/config/docker-config.ts'

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
  t.equal(read({ [HOST]: { auth: auth('u:p\0\0') } }), 'password u:p', 'the zero bytes of docker')
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
    'h?rbor.example.net',
  ])
    t.equal(read({ [key]: one }), 'password u:p', key)
  for (const key of ['example.net', '*.net', `${HOST}:443`, 'harbor.example.net.', '*', `sub.${HOST}`])
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
