// A state store that never writes a private key: bytes that hold one are kept in memory alone, for as long as this
// process may have to put them back. After a crash they are gone; the key that the configuration names is written anew
// by the next run.
import { createHash } from 'node:crypto'
import type { StateStore } from '../../model/ports.ts'

const PRIVATE_KEY = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----/

export function withoutPrivateKeys(store: StateStore): StateStore {
  const vault = new Map<string, Buffer>()
  return {
    ...store,
    async keep(bytes) {
      if (!PRIVATE_KEY.test(bytes.toString('latin1'))) return store.keep(bytes)
      const sha256 = createHash('sha256').update(bytes).digest('hex')
      vault.set(sha256, Buffer.from(bytes))
      return sha256
    },
    keepCopy: async (path, bytes) =>
      PRIVATE_KEY.test(bytes.toString('latin1')) ? undefined : store.keepCopy(path, bytes),
    async backup(sha256) {
      return vault.get(sha256) ?? store.backup(sha256)
    },
    async forget(referenced) {
      for (const sha256 of vault.keys()) if (!referenced.has(sha256)) vault.delete(sha256)
      await store.forget(referenced)
    },
  }
}
