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
			-i | --initrd | --engine | --escape | --platform | -b | --block | --net | -t | --tunnet)
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
		-i | --initrd | -b | --block)
			compopt -o filenames 2>/dev/null
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
			return
			;;
		--engine)
			mapfile -t COMPREPLY < <(compgen -W "auto soft lguest" -- "$cur")
			return
			;;
		--escape)
			mapfile -t COMPREPLY < <(compgen -W "both ctrl-a interrupts none" -- "$cur")
			return
			;;
		--platform)
			mapfile -t COMPREPLY < <(compgen -W "pc lguest" -- "$cur")
			return
			;;
		--net)
			mapfile -t COMPREPLY < <(compgen -W "user tap:" -- "$cur")
			return
			;;
		-t | --tunnet)
			mapfile -t COMPREPLY < <(compgen -W "192.168.19.1 bridge:" -- "$cur")
			return
			;;
		esac
		if [[ $cur == -* ]]; then
			mapfile -t COMPREPLY < <(compgen -W "-i --initrd= --no-reboot --no-host-decompress --escape= --platform= \
				-b --block= --net= -t --tunnet= -r --rng --engine= --perf-map --soft-disable= -v --verbose -h --help -V --version" -- "$cur")
			[[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace 2>/dev/null
		else
			mapfile -t COMPREPLY < <(compgen -W "256 512 1G 2G 4G" -- "$cur")
		fi
	elif ((words == 1)); then
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -W "console=ttyS0 console=hvc0 root=/dev/vda panic=-1 quiet nokaslr" -- "$cur")
	fi
}
complete -F _lguest lguest
