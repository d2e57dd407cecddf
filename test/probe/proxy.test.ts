// Which proxy a look takes: the rules of Go's httpproxy, and a real CONNECT with what a proxy may answer.

import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import t, { type Test } from 'tap'
import { tlsProbe } from '../../agent/node/tls/tls.ts'
import { proxyFor, throughProxy } from '../../agent/probe/proxy.ts'

const PROXY = 'http://proxy.example.net:3128'

t.test('NO_PROXY exempts what it exempts for Go', async (t) => {
  const cases: readonly (readonly [string, string, number, boolean])[] = [
    ['', 'reg.example.net', 443, false],
    ['*', 'reg.example.net', 443, true],
    ['example.net', 'reg.example.net', 443, true],
    ['example.net', 'example.net', 443, true],
    ['.example.net', 'example.net', 443, false],
    ['.example.net', 'a.b.example.net', 443, true],
    ['*.example.net', 'reg.example.net', 443, true],
    ['ample.net', 'reg.example.net', 443, false],
    [' other , REG.example.net ', 'reg.example.net', 443, true],
    ['reg.example.net:5000', 'reg.example.net', 443, false],
    ['reg.example.net:5000', 'reg.example.net', 5000, true],
    ['10.0.0.0/8', '10.1.2.3', 443, true],
    ['10.0.0.0/8', '11.1.2.3', 443, false],
    ['10.1.2.3', '10.1.2.3', 443, true],
    ['fd00::/8', 'fd00::1', 443, true],
    ['', 'localhost', 443, true],
    ['', '127.0.0.1', 443, true],
  ]
  for (const [exempt, host, port, isDirect] of cases) {
    const { kind } = proxyFor({ HTTPS_PROXY: PROXY, NO_PROXY: exempt }, host, port)
    t.equal(kind, isDirect ? 'direct' : 'proxy', `${host}:${port} with NO_PROXY=${exempt}`)
  }
})

t.test('the login of a proxy is never shown, and another scheme is told as unsupported', async (t) => {
  const choice = proxyFor({ https_proxy: 'http://user:geheim@proxy:8080' }, 'reg.example.net', 443)
  t.match(choice, { kind: 'proxy', shown: 'http://proxy:8080', proxy: { host: 'proxy', port: 8080 } })
  t.notMatch(JSON.stringify(choice), /geheim|Z2VoZWlt/)
  t.match(proxyFor({ HTTPS_PROXY: 'socks5://proxy:1080' }, 'reg.example.net', 443), { kind: 'unsupported' })
  t.match(proxyFor({ HTTPS_PROXY: 'proxy:3128' }, 'reg.example.net', 443), { kind: 'proxy', proxy: { port: 3128 } })
  t.same(proxyFor({}, 'reg.example.net', 443), { kind: 'direct' })
})

t.test('what a proxy answers to CONNECT is told as the fault of the proxy', async (t) => {
  for (const [answer, text] of [
    ['HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n', /it answers 403 Forbidden/],
    ['HTTP/1.1 407 Proxy Authentication Required\r\n\r\n', /it answers 407/],
    ['SSH-2.0-OpenSSH\r\n\r\n', /not an HTTP proxy/],
    ['', /closed the connection/],
  ] as const) {
    const { port, asked } = await proxyThatSays(t, answer)
    const probe = throughProxy(tlsProbe(), { HTTPS_PROXY: `http://u:p@127.0.0.1:${port}` })
    const sight = await probe.inspect(
      { host: 'reg.example.net', port: 443 },
      { timeoutMs: 5_000, request: { path: '/v2/' } },
    )
    t.match(sight.failure, { kind: 'proxy', text })
    t.match(asked(), /^CONNECT reg\.example\.net:443 HTTP\/1\.1\r\n[\s\S]*Proxy-Authorization: Basic dTpw\r\n/)
  }
})

async function proxyThatSays(t: Test, answer: string): Promise<{ port: number; asked: () => string }> {
  let asked = ''
  const server = createServer((socket) =>
    socket
      .on('error', () => undefined)
      .once('data', (bytes) => {
        asked = bytes.toString('latin1')
        socket.end(answer)
      }),
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return { port: (server.address() as AddressInfo).port, asked: () => asked }
}
