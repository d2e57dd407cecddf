import { existsSync } from 'node:fs'
import t from 'tap'
import { withoutPrivateKeys } from '../../../agent/reconcile/transaction/private-keys.ts'
import { STATE_FOLDER, scratchNode } from '../../fixtures/scratch/carry-out.ts'

const KEY = Buffer.from('-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n')

t.test('a private key is given back while the process lives, and never written', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} } }))
  const store = withoutPrivateKeys(node.store)
  const sha256 = await store.keep(KEY)
  t.same(await store.backup(sha256), KEY)
  await t.rejects(node.store.backup(sha256), { code: 'STATE_UNREADABLE' })
  t.notOk(existsSync(`${node.root}${STATE_FOLDER}`), 'nothing was written at all')
  await store.forget(new Set())
  await t.rejects(store.backup(sha256), { code: 'STATE_UNREADABLE' }, 'and forgotten with the others')
})

t.test('everything else is kept as ever', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} } }))
  const store = withoutPrivateKeys(node.store)
  const sha256 = await store.keep(Buffer.from('hello'))
  t.same(await node.store.backup(sha256), Buffer.from('hello'))
})
