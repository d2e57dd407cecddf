// Logins for the end-to-end tests, and how often a registry was asked with a wrong one.
import type { FixtureRegistry } from '../node/registry.ts'

/** As Harbor names robot accounts; the password has what a careless parser trips over. */
export const USER = { username: 'robot$ci+pull', password: 'se:cret/%20"ß' } as const
export const WRONG = 'not-the-pass-word'

export function dockerConfig(host: string, entry: object): string {
  return JSON.stringify({ auths: { [host]: entry } })
}

export function encoded({ username, password }: { readonly username: string; readonly password: string }): object {
  return { auth: Buffer.from(`${username}:${password}`).toString('base64') }
}

/** How often somebody tried to log in with what the registry does not know. */
export async function wrongLogins(registry: FixtureRegistry): Promise<number> {
  const lines = (await registry.log()).split('\n')
  return lines.filter((line) => line.includes('error authenticating user')).length
}
