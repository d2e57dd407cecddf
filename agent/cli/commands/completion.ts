// `registry-trust completion SHELL` and `registry-trust man`: texts for others to read, made from the command line's
// own table.
import { manPage } from '../completion/man.ts'
import { completionScript, type Shell } from '../completion/shells.ts'
import type { Wiring } from '../wiring.ts'

export async function completionCommand({ options, print }: Wiring): Promise<number> {
  // The command line has checked it against the table.
  const [shell] = options.operands as readonly [Shell]
  print(completionScript(shell))
  return 0
}

export async function manCommand({ print, version }: Wiring): Promise<number> {
  print(manPage(version))
  return 0
}
