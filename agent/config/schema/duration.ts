// Durations as people write them in trust.yaml: 30s, 10m, 1h30m. Hours, minutes and seconds, in this order, each at
// most once.

export const DURATION_PATTERN = '^(?=[0-9])(?:[0-9]{1,6}h)?(?:[0-9]{1,6}m)?(?:[0-9]{1,6}s)?$'

const PARTS = /^(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?$/

/** Milliseconds; `undefined` when the text is not a duration. */
export function parseDuration(text: string): number | undefined {
  const found = PARTS.exec(text)
  if (found === null || text === '') return undefined
  const [, hours = '0', minutes = '0', seconds = '0'] = found
  return ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000
}

/** The shortest spelling: 90000 → `1m30s`. */
export function formatDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000)
  const parts = [
    [Math.floor(seconds / 3600), 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ] as const
  return parts.map(([count, unit]) => (count === 0 ? '' : `${count}${unit}`)).join('') || '0s'
}
