import t from 'tap'
import { findInsecureFlags } from '../../agent/lint/rules.ts'

const rules = (text: string) => findInsecureFlags(text).map(({ rule }) => rule)

t.test('every flag that switches verification off is found', async (t) => {
  const table: { readonly [rule: string]: readonly string[] } = {
    'kaniko-skip-tls-verify': [
      '        - --skip-tls-verify',
      'args: ["--skip-tls-verify=true"]',
      '/kaniko/executor --skip-tls-verify-pull',
      '- --skip-tls-verify-registry=harbor.example.net',
    ],
    'kaniko-insecure': ['/kaniko/executor --insecure', 'image: example/kaniko:v1\nargs:\n- --insecure-registry=h'],
    'tls-verify-false': [
      'buildah push --tls-verify=false $IMAGE',
      'podman pull --tls-verify false x',
      'skopeo copy --dest-tls-verify=false a b',
      '- "--tls-verify=false"',
      '- name: TLSVERIFY\n  value: "false"',
      'params:\n- name: TLSVERIFY\n  description: x\n  default: "false"',
    ],
    'containerd-skip-verify': [
      '  insecure_skip_verify = true',
      '      insecure_skip_verify: true',
      'skip_verify = true',
      'skipVerify: true',
    ],
    'docker-insecure-registry': [
      '{ "insecure-registries": ["harbor.example.net"] }',
      'dockerd --insecure-registry harbor.example.net',
      '- --insecure-registry=h',
    ],
    'registries-conf-insecure': ['insecure = true'],
    'curl-insecure': [
      'curl -k https://h',
      'curl -fsSLk https://h',
      'curl --fail --insecure https://h',
      'command: ["curl", "-k", "https://h"]',
      'command: [curl]\nargs:\n- -s\n- -k',
    ],
    'wget-no-check': ['wget --no-check-certificate https://h'],
    'ctr-skip-verify': [
      'ctr -n k8s.io images pull -k h/x',
      'ctr images pull --skip-verify h/x',
      'ctr i pull --plain-http h/x',
    ],
    'git-no-verify': [
      'git -c http.sslVerify=false clone x',
      'git config --global http.sslVerify false',
      'git config http.https://h/.sslVerify false',
      'sslVerify = false',
      'GIT_SSL_NO_VERIFY=1 git clone x',
      '- name: GIT_SSL_NO_VERIFY\n  value: "1"',
    ],
    'skip-tls-verify': [
      'kubectl --insecure-skip-tls-verify get nodes',
      'helm pull --insecure-skip-tls-verify x',
      'insecure-skip-tls-verify: true',
    ],
    'allow-insecure-registry': ['cosign sign --allow-insecure-registry x'],
    'runtime-no-verify': ['NODE_TLS_REJECT_UNAUTHORIZED=0 node x', 'export PYTHONHTTPSVERIFY=0'],
  }
  for (const [rule, texts] of Object.entries(table)) for (const text of texts) t.same(rules(text), [rule], text)
})

t.test('what keeps verification on is not found', async (t) => {
  for (const text of [
    'buildah push --tls-verify=true x',
    'buildah push --tls-verify x',
    '- --skip-tls-verify=false',
    '- --skip-tls-verify-nothing',
    'insecure_skip_verify = false',
    'skip_verify = false',
    '{ "insecure-registries": [] }',
    'insecure = false',
    'curl --cacert ca.pem -o k https://h',
    'curl -okube.tar https://h',
    'curl --keepalive-time 3 https://h | grep -k',
    'tar -k x',
    '# never use --tls-verify=false',
    '  // insecure_skip_verify = true',
    'curl -k https://h # registry-trust: ignore (a captive portal is expected)',
    'git -c http.sslVerify=true clone x',
    'GIT_SSL_NO_VERIFY=0',
    '- name: TLSVERIFY\n  value: "true"',
    'value: "false"',
    '--insecure',
  ])
    t.same(findInsecureFlags(text), [], text)
})

t.test('the place is told, and of the line the flag alone', async (t) => {
  const [flag] = findInsecureFlags('a: b\n  run: curl -u admin:hunter2 -k https://h/?token=hunter2\n')
  t.match(flag, { line: 2, column: 30, found: '-k' })
  t.notMatch(JSON.stringify(flag), 'hunter2')
  t.ok((flag?.remedy.length ?? 0) > 10)
})

t.test('several in one line are several findings, CRLF or not', async (t) => {
  t.same(rules('buildah bud --tls-verify=false . && curl -k https://h\r\n'), ['tls-verify-false', 'curl-insecure'])
})
