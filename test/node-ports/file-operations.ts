// A process of its own that changes files below a root through the agent's nodeFiles: for tests that need another mount namespace, another
// user, a tracer, or a sudden death. Arguments: root, then one JSON operation each; prints one JSON line with all outcomes.
import { AgentError } from '../../agent/model/errors.ts'
import { nodeFiles } from '../../agent/node/files.ts'

export type Operation =
  | {
      readonly put: string
      readonly folder: string
      readonly text: string
      readonly mode?: number
      readonly gid?: number
      readonly uid?: number
    }
  | { readonly putFolder: string; readonly folder: string; readonly files: { readonly [name: string]: string } }
  | { readonly remove: string; readonly folder: string }
  | { readonly removeFolder: string; readonly folder: string }
  | { readonly sweep: string }
  | { readonly isWritable: string }

export type Outcome = { readonly value?: boolean; readonly code?: string; readonly message?: string }

const [root, ...operations] = process.argv.slice(2)
const files = nodeFiles({ root: root ?? '/' })

async function run(operation: Operation): Promise<boolean | undefined> {
  if ('put' in operation) {
    await files.put(operation.put, fileOf(operation.text, operation), { folder: operation.folder })
  } else if ('putFolder' in operation) {
    const content = Object.entries(operation.files).map(([name, text]) => ({ name, content: fileOf(text, {}) }))
    await files.putFolder(operation.putFolder, content, { folder: operation.folder, mode: 0o755 })
  } else if ('remove' in operation) {
    await files.put(operation.remove, { kind: 'absent' }, { folder: operation.folder })
  } else if ('removeFolder' in operation) {
    await files.removeFolder(operation.removeFolder, { folder: operation.folder })
  } else if ('sweep' in operation) {
    await files.sweep(operation.sweep)
  } else return files.isWritable(operation.isWritable)
  return undefined
}

function fileOf(text: string, { mode = 0o644, uid = 0, gid = 0 }: { mode?: number; uid?: number; gid?: number }) {
  return { kind: 'file', bytes: Buffer.from(text), mode, uid, gid } as const
}

const outcomes: Outcome[] = []
for (const text of operations) {
  try {
    const value = await run(JSON.parse(text))
    outcomes.push(value === undefined ? {} : { value })
  } catch (error) {
    if (!(error instanceof AgentError)) throw error
    outcomes.push({ code: error.code, message: error.message })
  }
}
process.stdout.write(`${JSON.stringify(outcomes)}\n`)
