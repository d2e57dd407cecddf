// Texts that the agent edits and others write in place: what is met in the middle of a line is not taken for the file.
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { FileState, NodeFiles } from '../../agent/model/ports.ts'
import { observeHosts } from '../../agent/targets/containerd-hosts/observe.ts'
import { observeShipped } from '../../agent/targets/system-trust/distrust-observe.ts'
import { scratchNode } from '../fixtures/scratch/carry-out.ts'
import { desired, registry } from '../fixtures/scratch/sample.ts'

const HOST = 'harbor.example.net'
const FOLDER = '/etc/containerd/certs.d'
type Reader = (files: NodeFiles) => Promise<FileState | undefined>

const EDITED: { readonly [path: string]: Reader } = {
  [`${FOLDER}/${HOST}/hosts.toml`]: async (files) => {
    const wanted = { desired: desired({ registries: [registry(HOST)] }), owned: {} }
    const { folders } = await observeHosts(wanted, FOLDER, '1.7.24', files)
    return folders.get(`${FOLDER}/${HOST}`)?.files.get('hosts.toml')
  },
  '/etc/ca-certificates.conf': async (files) => (await observeShipped('/etc/ssl/certs', files)).conf,
}

for (const [path, read] of Object.entries(EDITED))
  t.test(`${path} is read again until its writer is done`, async (t) => {
    const { root, files } = scratchNode(t.testdir({}))
    const file = join(root, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, '# the first li')
    const reading = read(files)
    await sleep(40)
    appendFileSync(file, 'ne\n# the second\n')
    const state = await reading
    t.equal(state?.kind === 'file' && state.bytes.toString(), '# the first line\n# the second\n')
  })
