// What `apply` is doing just now, as one line of a terminal that is gone when it ends. Driven by the ports that a run
// uses, so that the run itself does not know about it.
import type { CriClient, Log } from '../../model/ports.ts'
import type { RunPorts } from '../../model/run-ports.ts'
import { harmless } from './terminal.ts'

export type ProgressLine = { show(text: string): void; clear(): void }

const TO_COLUMN_1_AND_ERASE = '\r\u001b[2K'

/** `columns`: asked each time, since a window changes its size. The line never wraps: what wraps cannot be erased. */
export function progressLine(print: (text: string) => void, columns: () => number): ProgressLine {
  let isShown = false
  const clear = () => {
    if (isShown) print(TO_COLUMN_1_AND_ERASE)
    isShown = false
  }
  return {
    show(text) {
      print(`${TO_COLUMN_1_AND_ERASE}${[...harmless(text)].slice(0, columns() - 1).join('')}`)
      isShown = true
    },
    clear,
  }
}

/** The same ports, which say what they are asked for before they do it. */
export function withProgress(ports: RunPorts, line: ProgressLine): RunPorts {
  const { files, runner, systemd, tls } = ports
  return {
    ...ports,
    log: aside(ports.log, line),
    connectCri: (socket) => pulling(ports.connectCri(socket), line),
    runner: {
      ...runner,
      async start(options) {
        line.show("rehearsing on a private copy of the node's containerd…")
        return runner.start(options)
      },
    },
    files: {
      ...files,
      async put(path, content, options) {
        line.show(`writing ${path}…`)
        return files.put(path, content, options)
      },
      async putFolder(path, entries, options) {
        line.show(`writing ${path}…`)
        return files.putFolder(path, entries, options)
      },
      async removeFolder(path, options) {
        line.show(`removing ${path}…`)
        return files.removeFolder(path, options)
      },
    },
    systemd: {
      ...systemd,
      async restart(name, options) {
        line.show(`restarting ${name}…`)
        return systemd.restart(name, options)
      },
    },
    tls: {
      ...tls,
      async inspect(target, options) {
        line.show(`asking ${target.host}…`)
        return tls.inspect(target, options)
      },
    },
  }
}

function pulling(cri: CriClient, line: ProgressLine): CriClient {
  return {
    ...cri,
    async pullImage(reference, options, credentials) {
      line.show(`proving ${reference.split('/', 1)[0] ?? ''}…`)
      return cri.pullImage(reference, options, credentials)
    },
  }
}

/** A log line goes to the same terminal: not behind the line. */
function aside(given: Log, line: ProgressLine): Log {
  const after =
    (level: keyof Log): Log[keyof Log] =>
    (event, fields) => {
      line.clear()
      given[level](event, fields)
    }
  return { debug: after('debug'), info: after('info'), warn: after('warn'), error: after('error') }
}
