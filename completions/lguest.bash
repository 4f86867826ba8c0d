# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for lguest(1)

_lguest()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} i word
	local words=0 value=

	# bash breaks --name=value into three words.
	if [[ $cur == "=" ]]; then
		cur=
		value=$prev
	elif [[ $prev == "=" ]]; then
		value=${COMP_WORDS[COMP_CWORD - 2]}
	else
		value=$prev
	fi
	COMPREPLY=()

	# How many of <mem-in-mb> <kernel> stand before the cursor?
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if ((words == 0)); then
			case $word in
			-i | --initrd | --engine)
				[[ ${COMP_WORDS[i + 1]-} == "=" ]] && ((i++))
				((i++))
				continue
				;;
			-* | =) continue ;;
			esac
		fi
		((words++))
	done

	if ((words == 0)); then
		case $value in
		-i | --initrd)
			compopt -o filenames 2>/dev/null
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			return
			;;
		--engine)
			mapfile -t COMPREPLY < <(compgen -W "auto soft" -- "$cur")
			return
			;;
		esac
		if [[ $cur == -* ]]; then
			mapfile -t COMPREPLY < <(compgen -W "-i --initrd= --no-reboot --no-host-decompress \
				--engine= --perf-map -v --verbose -h --help -V --version" -- "$cur")
			[[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace 2>/dev/null
		else
			mapfile -t COMPREPLY < <(compgen -W "256 512 1G 2G 4G" -- "$cur")
		fi
	elif ((words == 1)); then
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -W "console=ttyS0 panic=-1 quiet nokaslr" -- "$cur")
	fi
}
complete -F _lguest lguest
