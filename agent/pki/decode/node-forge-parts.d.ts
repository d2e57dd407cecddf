// The two parts of node-forge that are used: the whole of it would cost 17 MB of memory and the start of every command.
declare module 'node-forge/lib/rc2.js' {
  import type { rc2 } from 'node-forge'

  const part: Pick<typeof rc2, 'createDecryptionCipher'>
  export = part
}

declare module 'node-forge/lib/util.js' {
  import type { util } from 'node-forge'

  const part: Pick<typeof util, 'createBuffer'>
  export = part
}
