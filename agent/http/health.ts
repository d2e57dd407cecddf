// The health answers in the form that kube-apiserver made familiar: "ok", or one line for each check.

export type HealthCheck = { readonly name: string; readonly ok: boolean; readonly message: string }

export type Health = { readonly ready: boolean; readonly checks: readonly HealthCheck[] }

export type HealthAnswer = { readonly status: 200 | 503; readonly body: string }

/** A failing answer always lists the checks: its reader wants to know which one failed. */
export function renderHealth(name: string, health: Health, verbose: boolean): HealthAnswer {
  if (health.ready && !verbose) return { status: 200, body: 'ok\n' }
  const lines = health.checks.map(renderCheck)
  const verdict = health.ready ? `${name} check passed` : `${name} check failed`
  return { status: health.ready ? 200 : 503, body: `${[...lines, verdict].join('\n')}\n` }
}

export function bothHealthy(first: Health, second: Health): Health {
  const names = new Set(first.checks.map(({ name }) => name))
  return {
    ready: first.ready && second.ready,
    checks: [...first.checks, ...second.checks.filter(({ name }) => !names.has(name))],
  }
}

function renderCheck({ name, ok, message }: HealthCheck): string {
  const reason = message.replace(/\s+/g, ' ').trim()
  if (ok) return `[+]${name} ok`
  return reason === '' ? `[-]${name} failed` : `[-]${name} failed: ${reason}`
}
