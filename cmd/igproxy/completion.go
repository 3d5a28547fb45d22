package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// The scripts ask the binary itself, through urfave/cli's hidden flag, so that they never fall behind it.
const bashCompletion = `_igproxy() {
  local current="${COMP_WORDS[COMP_CWORD]}" words
  words=("${COMP_WORDS[@]:0:COMP_CWORD}")
  [[ "$current" == -* ]] && words+=("$current")
  COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$current"))
}
complete -o default -F _igproxy igproxy
`

const zshCompletion = `#compdef igproxy
_igproxy() {
  local -a found words_before
  words_before=("${(@)words[1,CURRENT-1]}")
  [[ "${words[CURRENT]}" == -* ]] && words_before+=("${words[CURRENT]}")
  found=("${(@f)$("${words_before[@]}" --generate-bash-completion 2>/dev/null)}")
  compadd -- $found
}
compdef _igproxy igproxy
`

func completionCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a completion script for a shell",
		ArgsUsage: "bash|zsh|fish",
		Description: "bash:  source <(igproxy completion bash)\n" +
			"zsh:   igproxy completion zsh > \"${fpath[1]}/_igproxy\"\n" +
			"fish:  igproxy completion fish > ~/.config/fish/completions/igproxy.fish",
		BashComplete: func(*cli.Context) { fmt.Fprintln(env.stdout, "bash\nzsh\nfish") },
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return &usageError{"completion takes one argument: bash, zsh or fish"}
			}
			switch shell := c.Args().First(); shell {
			case "bash":
				_, err := fmt.Fprint(env.stdout, bashCompletion)
				return err
			case "zsh":
				_, err := fmt.Fprint(env.stdout, zshCompletion)
				return err
			case "fish":
				script, err := c.App.ToFishCompletion()
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(env.stdout, strings.TrimSpace(script)+"\n")
				return err
			default:
				return &usageError{fmt.Sprintf("completion knows bash, zsh and fish, not %q", shell)}
			}
		},
	}
}
