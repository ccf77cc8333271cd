#!/usr/bin/env bash
# The stages of every recipe, from a corpus to scores. A recipe's run.sh sources this file and calls
#
#     speech_llama SETTING... -- "$@"
#
# with its own settings, which the user's options override. A recipe has beside its run.sh: conf/<system>.yaml, conf/ctc.yaml,
# local/data.sh (stage 1) and, if it likes, cmd.sh. Every stage calls speechllama's Python entry points through `launch` or
# `run`; what a stage reads and writes stands in the table at the end.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=../../utils/parse_options.sh
. "$root/utils/parse_options.sh"
# shellcheck source=../../utils/stages.sh
. "$root/utils/stages.sh"

# --- options
# Which stages
stage=0             # first stage; 0 checks what can be checked before hours are spent
stop_stage=13       # last stage
list=false          # list the stages and whether they are finished, and stop
dry_run=false       # print the commands instead of running them, stage 0 excepted
print_dirs=false    # print the directories of this system, a line each, and stop
help=false          # print this help
# The experiment
task=st             # st (speech translation) or asr (recognition of the source language)
system=e6           # the system to train and score: conf/<system>.yaml
size=               # take the settings in conf/<size> instead of conf
langs=              # source languages, separated by blanks
llm=                # LLM: Hugging Face directory or hub id; empty: the recipe trains its own with conf/llm.yaml
revision=           # revision of a hub LLM
token_file=         # file with the hub's token, for a gated LLM; or put the token into HF_TOKEN
ctc_target=transcript  # what CTC learns: transcript or translation
ctc_units=          # SentencePiece units of CTC; empty: what conf/ctc.yaml says
target_units=       # SentencePiece units of what an encoder-decoder writes; empty: what its YAML says
seed=               # of all trainings and of units; empty: what their YAMLs say (seed:), else 1; the corpus has one of its own, in data_options
from_features=false # train and decode from features, without the cache of stage 6: slower, and batches differ
tag=                # appended to the system's experiment directory, to tell trials apart
# Corpus
common_voice=       # Common Voice: DIR/<lang>/validated.tsv and clips/, or its archives in DIR; empty: DOWNLOADS/common_voice
covost2=            # directory or URL of covost_v2.<lang>_en.tsv or .tsv.tar.gz; empty: DOWNLOADS/covost2
data_options=       # further options of local/data.sh (its --help), separated by blanks
# Further options of single commands, separated by blanks (those of training override the YAML)
feature_options=    # of stage 2, such as "--max_bad_share 0.2"
ctc_options=        # of CTC training, such as "--max_epoch 5"
llm_options=        # of the training of the recipe's own LLM
train_options=      # of audio-encoder and LoRA training
decode_options=     # of decode, such as "--length_penalty 0.8"
# Averaging, decoding, scoring
num_best=3          # best epochs of the system to average; at most the YAML's keep_nbest_models
ctc_num_best=3      # best epochs of CTC to average; likewise
sets="test"         # sets to decode and score, separated by blanks
beam_size=4         # 1 is greedy
batch_size=16       # utterances decoded together
pack_llm=false      # put the LLM's weights into the packed model, too
# The machine
cmd=                # file that says where jobs run (TEMPLATE/cmd.sh explains); empty: cmd.sh of the recipe or of TEMPLATE
nj=2                # parallel jobs of data work
decode_nj=0         # parallel jobs of compression and decoding; 0: a job a GPU, or nj without GPUs
ngpu=0              # GPUs of each node; 0 runs everything on the CPU
num_nodes=1         # nodes that share a training (launcher=slurm)
python=             # interpreter to make the environment with, where it must be made
# Where things are written, from the recipe's directory
datadir=data        # data directories
dumpdir=dump        # features
expdir=exp          # experiments
downloads=downloads # what the recipe fetches, unpacks or makes itself; corpora are looked for here by default
# --- end of options

# own_value FILE KEY: a top-level "key: value" of this file, with or without quotes -> value.
own_value() {
  value=$(sed -n "s/^$2:[[:space:]]*[\"']\{0,1\}\([^[:space:]#\"']*\).*/\1/p" "$1" | head -n 1)
}

# conf_files FILE: the file and all that it includes, each relative to the one before -> confs.
conf_files() {
  local file=$1 value
  confs=()
  while [[ -f $file ]] && ((${#confs[@]} < 20)); do # a file that includes itself is refused where it is read
    confs+=("$file")
    own_value "$file" include
    file=$(dirname "$file")/$value
  done
}

# yaml_value FILE KEY: a top-level "key: value", also from the files that FILE includes -> value.
yaml_value() {
  local file
  local -a confs
  value=""
  conf_files "$1"
  for file in "${confs[@]}"; do
    own_value "$file" "$2"
    if [[ -n $value ]]; then return 0; fi
  done
}

# one_of OPTION WORD...: the option's value must be one of the words.
one_of() {
  local name=$1 word
  shift
  for word in "$@"; do if [[ ${!name} == "$word" ]]; then return 0; fi; done
  wrong_usage "--$name is one of $*, not '${!name}'"
}

# find_conf SYSTEM: its YAML file -> conf.
find_conf() {
  local file there=""
  conf=$confdir/$1.yaml
  if [[ -f $conf ]]; then return 0; fi
  for file in "$confdir"/*.yaml; do
    file=${file##*/}
    if [[ $file != "*.yaml" ]]; then there+=" ${file%.yaml}"; fi
  done
  wrong_usage "no system '$1': there is no $PWD/$conf; in $confdir there are:${there:- none}"
}

# refuse_inside OPTION ADVICE NAME...: options of single commands that would contradict what the stages go by, or be ignored
# -> option_faults.
refuse_inside() {
  local option=$1 advice=$2 word name
  local -a words
  shift 2
  read -ra words <<<"${!option}"
  for word in "${words[@]}"; do
    for name in "$@"; do
      if [[ ${word%%=*} != "--$name" ]]; then continue; fi
      option_faults+=("--$option holds --$name, which the stages must know: $advice")
    done
  done
}

# seed_of FILE: the seed of what this YAML trains -> value.
seed_of() {
  value=$seed
  if [[ -z $value ]]; then yaml_value "$1" seed; fi
  value=${value:-1}
}

# seed_suffix FILE: what --seed adds to the name of what this YAML trains -> value.
seed_suffix() {
  yaml_value "$1" seed
  if [[ -n $seed && $seed != "${value:-1}" ]]; then value=_seed$seed; else value=""; fi
}

# check_options: refuse what can be refused before anything runs.
check_options() {
  one_of task st asr
  one_of ctc_target transcript translation
  if [[ -z $langs ]]; then wrong_usage "--langs is empty"; fi
  if [[ -z $sets ]]; then wrong_usage "--sets is empty"; fi
  local name
  for name in $sets; do
    case $name in train | dev | test) ;; *) wrong_usage "--sets holds train, dev or test, not '$name'" ;; esac
  done
  if ((nj < 1 || num_nodes < 1 || beam_size < 1 || batch_size < 1)); then
    wrong_usage "--nj, --num_nodes, --beam_size and --batch_size are at least 1"
  fi
  if [[ ! $seed =~ ^[0-9]*$ ]]; then wrong_usage "--seed is a whole number, not '$seed'"; fi
  refuse_inside ctc_options "give it to the recipe itself" seed ctc_units
  refuse_inside llm_options "give it to the recipe itself" seed
  refuse_inside decode_options "give it to the recipe itself" beam_size batch_size
  refuse_inside train_options "give it to the recipe itself" seed
  refuse_inside train_options "write it into a system's YAML and choose that with --system" init_system scratch_llm \
    compressor drop_blank_runs max_compressed_length num_clusters
  refuse_faults
  if ((num_best < 1 || ctc_num_best < 1)); then wrong_usage "--num_best and --ctc_num_best are at least 1"; fi
  one_of launcher local slurm site
  if ((num_nodes > 1)) && [[ $launcher != slurm ]]; then
    wrong_usage "--num_nodes $num_nodes needs launcher=slurm, and $cmd says $launcher"
  fi
  # Stage 7 would refuse it, hours later. A hub id has one slash, as organisation/name.
  if [[ -n $llm && ! -f $llm/config.json ]] && [[ -e $llm || ! $llm =~ ^[^./~][^/]*/[^/]+$ ]]; then
    wrong_usage "--llm '$llm' is no directory with config.json, nor a hub id such as organisation/name"
  fi
  if [[ $pack_llm == true && -n $llm && ! -d $llm ]]; then
    wrong_usage "--pack_llm true needs --llm DIRECTORY; an LLM of the hub stays there, so give --pack_llm false"
  fi
}

# absolute_inputs: paths that the user gives are relative to where the user is, not to the recipe. A recipe's own settings
# name none of them.
absolute_inputs() {
  local name
  for name in common_voice covost2 llm token_file python cmd; do
    if [[ -n ${!name} && ${!name} != /* && -e ${!name} ]]; then printf -v "$name" '%s' "$PWD/${!name}"; fi
  done
}

# find_base: what stages 1 to 11 train and decode -> base_conf, its model, scratch_llm. A rescoring system trains nothing
# and stands on another system; every other is its own base.
find_base() {
  local value conf
  find_conf "$system"
  system_conf=$conf
  yaml_value "$system_conf" rescore_system
  rescore_system=$value
  find_conf "${rescore_system:-$system}"
  base_conf=$conf
  yaml_value "$base_conf" rescore_system
  if [[ -n $rescore_system && -n $value ]]; then
    wrong_usage "$system_conf: rescore_system $rescore_system rescores $value itself; name a system that is trained"
  fi
  yaml_value "$base_conf" model
  model=$value
  yaml_value "$base_conf" scratch_llm
  scratch_llm=$value
  if [[ -n $rescore_system && -n $scratch_llm ]]; then
    wrong_usage "$system_conf: rescore_system $rescore_system has no LLM but its own decoder, and that would rescore itself"
  fi
  needs_llm=true
  if [[ $model == seq2seq && -z $rescore_system ]]; then needs_llm=false; fi
}

# default_corpora: where a recipe that takes corpora (an option of its local/data.sh) looks for those that are not named.
default_corpora() {
  local name
  if [[ ! -f local/data.sh ]] || ! read_options local/data.sh 2>/dev/null; then return 0; fi
  for name in common_voice covost2; do
    if [[ " ${option_names[*]} " == *" $name "* && -z ${!name} ]]; then printf -v "$name" '%s' "$downloads/$name"; fi
  done
}

# derive_names: every path below comes from the options, and only here. Runs after the options are parsed.
derive_names() {
  local value suffix base_suffix conf llm_name
  confdir=conf${size:+/$size}
  if [[ ! -d $confdir ]]; then wrong_usage "no size '$size': there is no $PWD/$confdir"; fi
  if [[ -z $ctc_units ]]; then
    yaml_value "$confdir/ctc.yaml" ctc_units
    ctc_units=$value
    if [[ -z $ctc_units ]]; then wrong_usage "--ctc_units is needed: $PWD/$confdir/ctc.yaml has no ctc_units"; fi
  fi
  find_base
  seed_suffix "$base_conf"
  suffix=${size:+_$size}$value
  base_suffix=$suffix${tag:+_$tag}
  seed_suffix "$confdir/llm.yaml"
  llm_dir=$expdir/llm${size:+_$size}$value
  if [[ -n $scratch_llm ]]; then
    if [[ ! -f $confdir/$scratch_llm.yaml ]]; then
      wrong_usage "$system_conf: scratch_llm names $confdir/$scratch_llm.yaml, which is not there"
    fi
    llm_dir=$expdir/llm_$scratch_llm${size:+_$size}_$task # its tokenizer is that of the task's target
  elif [[ -n $llm ]]; then
    llm_name=${llm%/}
    llm_name=${llm_name##*/}
    llm_dir=$expdir/llm_$llm_name${revision:+_$revision}
    suffix+=_$llm_name${revision:+_$revision}
  fi
  if [[ $ctc_target == translation ]]; then suffix+=_ctc_translation; fi
  yaml_value "$base_conf" compressor
  compressor=${value:-frame_average}
  if [[ $model == seq2seq ]]; then compressor=none; fi
  is_cached=false # what stands on a trained CTC encoder alone
  case $compressor in blank_removal | frame_average | units) is_cached=true ;; esac
  trains_encoder=false # with the LLM's loss, in place of CTC
  if [[ -n $scratch_llm ]] || { ! $is_cached && [[ $compressor != none ]]; }; then trains_encoder=true; fi
  if $is_cached && $from_features; then suffix+=_from_features; fi
  suffix+=${tag:+_$tag}
  if [[ $model != seq2seq ]]; then base_suffix=$suffix; fi # an encoder-decoder is the same beside any LLM
  base_dir=$expdir/${task}_${rescore_system:-$system}$base_suffix
  system_dir=$base_dir
  if [[ -n $rescore_system ]]; then system_dir=$expdir/${task}_$system$suffix; fi
  tuned=$system_dir/rescoring_beam$beam_size.json
  preflight_dir=$expdir/preflight/${system_dir##*/}
  yaml_value "$base_conf" init_system
  init_system=$value
  init_conf=""
  init_dir=""
  if [[ -n $init_system ]]; then
    find_conf "$init_system"
    init_conf=$conf
    init_dir=$expdir/${task}_$init_system$suffix
  fi
  units_prefix=""
  character_coverage=0.9995 # the rarest characters of all languages are no units
  if [[ $model == seq2seq ]]; then # CTC and the decoder have the units of what is written
    units_prefix=seq2seq_
    character_coverage=1.0 # a character without a unit could never be written
    ctc_target=transcript
    if [[ $task == st ]]; then ctc_target=translation; fi
    yaml_value "$base_conf" target_units
    ctc_units=${target_units:-$value}
    if [[ -z $ctc_units ]]; then wrong_usage "--target_units is needed: $PWD/$base_conf has no target_units"; fi
  fi
  tokenizer=$datadir/${units_prefix:-ctc_}${ctc_target}_bpe$ctc_units/bpe.model
  stats_dir=$expdir/stats_$units_prefix${ctc_target}_bpe$ctc_units
  ctc_dir=$expdir/ctc_${ctc_target}_bpe$ctc_units${size:+_$size}
  seed_suffix "$confdir/ctc.yaml"
  ctc_dir+=$value
  cached_compressor=$compressor
  if [[ $compressor == none ]]; then cached_compressor=frame_average; fi # for the report only
  # The cache is made by the settings of the system's YAML, and its name tells them.
  compressed_dir=$ctc_dir/compressed_$cached_compressor
  compress_settings=(--compressor "$cached_compressor")
  yaml_value "$base_conf" drop_blank_runs
  if [[ $value == true ]]; then
    compressed_dir+=_no_blanks
    compress_settings+=(--drop_blank_runs true)
  fi
  yaml_value "$base_conf" max_compressed_length
  if [[ -n $value ]]; then
    compressed_dir+=_max$value
    compress_settings+=(--max_compressed_length "$value")
  fi
  yaml_value "$base_conf" num_clusters
  num_clusters=$value
  centroids=""
  if [[ $compressor == units ]]; then
    if [[ ! $num_clusters =~ ^[1-9][0-9]*$ ]]; then wrong_usage "$base_conf: the compressor units needs num_clusters"; fi
    compressed_dir+=$num_clusters
    centroids=$compressed_dir/centroids.npz
    compress_settings+=(--num_clusters "$num_clusters" --centroids_file "$centroids")
  fi
  ctc_text=src_text
  if [[ $ctc_target == translation ]]; then ctc_text=text; fi
  target_text=text
  if [[ $task == asr ]]; then target_text=src_text; fi
  llm_input_dir=$dumpdir
  llm_input=feats.scp,speech
  if $is_cached && ! $from_features; then
    llm_input_dir=$compressed_dir
    llm_input=compressed.scp,compressed
  fi
}

# launch JOBS LOG COMMAND...: run the command as that many parallel jobs on CPUs, each with its log.
launch() { launch_as cpu "$@"; }

# launch_model JOBS LOG COMMAND...: the same with a GPU for each job, where there are any.
launch_model() {
  if ((ngpu > 0)); then launch_as gpu "$@"; else launch_as cpu "$@"; fi
}

# launch_as KIND JOBS LOG COMMAND...: the same as jobs of a kind: cpu, gpu or train (one job on all nodes).
launch_as() {
  local kind=$1 jobs=$2
  stage_log=$3
  shift 3
  if $dry_run; then
    run "$@"
  else
    attend "$root/utils/launch.sh" --launcher "$launcher" --retries "$retries" --poll "$poll" --kind "$kind" \
      --nodes "$num_nodes" --gpus "$ngpu" --nj "$jobs" --log "$stage_log" -- "$@"
  fi
}

# module NAME ARGUMENT...: the command of one of our Python entry points -> command.
module() {
  local name=$1
  shift
  command=(python3 -m "speechllama.bin.$name" "$@")
}

# trainer NAME CONF ARGUMENT...: the same for training, which several GPUs or nodes share through torchrun -> command.
trainer() {
  local name=$1 conf=$2 num_processes=$((ngpu > 0 ? ngpu : 1)) value
  shift 2
  seed_of "$conf"
  if ((num_processes * num_nodes > 1)); then
    command=(python3 -m torch.distributed.run --nproc_per_node "$num_processes")
    # utils/job.sh tells the processes of several nodes where to meet.
    if ((num_nodes > 1)); then command+=(--nnodes "$num_nodes"); else command+=(--standalone); fi
    command+=(-m "speechllama.bin.$name" --multiprocessing_distributed false --ngpu "$((ngpu > 0))")
    if ((ngpu == 0)); then command+=(--dist_backend gloo); fi
  else
    command=(python3 -m "speechllama.bin.$name" --ngpu "$ngpu")
  fi
  command+=(--config "$conf" "$@" --seed "$value" --resume true)
}

# model_jobs: parallel jobs of compression and decoding -> jobs.
model_jobs() {
  jobs=$decode_nj
  if ((jobs == 0)); then jobs=$((ngpu > 0 ? ngpu * num_nodes : nj)); fi
}

# data_arguments ROOT TEXT SHAPES INPUT...: ESPnet's options for the training and the validation data -> arguments.
# INPUT is file,name; SHAPES are the shape files of a set, with SET in place of its name.
data_arguments() {
  local directory=$1 text_name=$2 input=$3 side set shape
  shift 3
  arguments=()
  for side in train valid; do
    set=train
    if [[ $side == valid ]]; then set=dev; fi
    arguments+=(
      "--${side}_data_path_and_name_and_type" "$directory/$set/$input,kaldi_ark"
      "--${side}_data_path_and_name_and_type" "$directory/$set/$text_name,text,text"
    )
    for shape in "$@"; do arguments+=("--${side}_shape_file" "${shape/SET/$set}"); done
  done
}

# stage_preflight: every fault in one list. With --dry_run it runs, too, writes nothing, and its status is the run's.
stage_preflight() {
  local verdict reason is_prepared_data=false
  judge_stage 1
  if [[ $verdict == finished ]]; then is_prepared_data=true; fi
  module preflight --is_prepared "$is_prepared_data" --system_config "$base_conf" --init_config "$init_conf" \
    --ctc_config "$confdir/ctc.yaml" \
    --langs "$langs" --common_voice "$common_voice" --covost2 "$covost2" --llm "$llm" ${revision:+--revision "$revision"} \
    ${token_file:+--token_file "$token_file"} --downloads "$downloads" --datadir "$datadir" --dumpdir "$dumpdir" --expdir "$expdir" \
    --ctc_units "$ctc_units" --nj "$nj" --ngpu "$ngpu" --num_nodes "$num_nodes" --beam_size "$beam_size" \
    --batch_size "$batch_size" --launcher "$launcher" --stop_stage "$stop_stage" --ctc_options "$ctc_options" --train_options "$train_options"
  if [[ -n $rescore_system ]]; then command+=(--rescore_config "$system_conf"); fi
  if [[ -z $llm$scratch_llm && -f $confdir/llm.yaml ]]; then command+=(--llm_config "$confdir/llm.yaml"); fi
  if $dry_run; then
    run "${command[@]}"
    if ! "$root/tools/install.sh" --present_only ${python:+--python "$python"} 2>/dev/null; then
      echo "   stage 0 itself is left out: the environment is not installed yet (tools/install.sh)"
      return 0
    fi
    prepare_run
    "${command[@]}" || dry_run_status=1
    return 0
  fi
  attend "${command[@]}" --output_dir "$preflight_dir"
}

stage_data() {
  local -a options=(--langs "$langs" --datadir "$datadir" --downloads "$downloads" --nj "$nj")
  local -a further
  local set
  if [[ -n $common_voice ]]; then options+=(--common_voice "$common_voice"); fi
  if [[ -n $covost2 ]]; then options+=(--covost2 "$covost2"); fi
  read -ra further <<<"$data_options"
  launch 1 "$datadir/log/data.log" local/data.sh "${options[@]}" "${further[@]}"
  for set in train dev test; do
    module validate_data_dir --data_dir "$datadir/$set"
    launch 1 "$datadir/log/validate_$set.log" "${command[@]}"
  done
  if [[ -f $datadir/report.md ]] && ! $dry_run; then cat "$datadir/report.md"; fi
}

clear_features() { clear_shared "$dumpdir" rm -rf "${dumpdir:?}"/{train,dev,test}; }
stage_features() {
  local set
  local -a further
  read -ra further <<<"$feature_options"
  for set in train dev test; do
    module make_features --data_dir "$datadir/$set" --output_dir "$dumpdir/$set" --num_jobs "$nj" --job JOB "${further[@]}"
    launch "$nj" "$dumpdir/log/features_$set.JOB.log" "${command[@]}"
    module merge_parts --data_dir "$datadir/$set" --output_dir "$dumpdir/$set" --num_jobs "$nj" --name feats "${further[@]}"
    launch 1 "$dumpdir/log/merge_$set.log" "${command[@]}"
  done
}

stage_tokenizer() {
  local directory=${tokenizer%/*}
  module train_tokenizer --text "$datadir/train/$ctc_text" --vocab_size "$ctc_units" \
    --character_coverage "$character_coverage" --output_dir "$directory"
  launch 1 "$directory/train.log" "${command[@]}"
}

stage_statistics() {
  module collect_stats --train_dir "$dumpdir/train" --dev_dir "$dumpdir/dev" --tokenizer "$tokenizer" \
    --text_name "$ctc_text" --output_dir "$stats_dir"
  launch 1 "$stats_dir/collect_stats.log" "${command[@]}"
  module report_left_out --data_root "$datadir" --dump_root "$dumpdir" --stats_dir "$stats_dir"
  launch 1 "$stats_dir/left_out.log" "${command[@]}"
  if ! $dry_run; then cat "$stats_dir/left_out.md"; fi
}

# train_on_features NAME CONF DIR ARGUMENT...: a training from features to the units of stage 3.
train_on_features() {
  local name=$1 conf=$2 directory=$3
  shift 3
  data_arguments "$dumpdir" "$ctc_text" feats.scp,speech "$stats_dir/SET/speech_shape" "$stats_dir/SET/text_shape"
  trainer "$name" "$conf" --tokenizer "$tokenizer" --cmvn_file "$stats_dir/cmvn.npz" \
    "${arguments[@]}" --output_dir "$directory" "$@"
  launch_as train 1 "$directory/train.log" "${command[@]}"
}

clear_ctc() { clear_shared "$ctc_dir" move_aside "$ctc_dir"; }
stage_ctc() {
  local -a further
  read -ra further <<<"$ctc_options"
  train_on_features ctc_train "$confdir/ctc.yaml" "$ctc_dir" "${further[@]}"
  module average_checkpoints --exp_dir "$ctc_dir" --num_best "$ctc_num_best"
  launch 1 "$ctc_dir/average.log" "${command[@]}"
}

clear_compress() { clear_shared "$ctc_dir" rm -rf "${compressed_dir:?}"/{train,dev,test,report.json,report.md}; }
stage_compress() {
  local set jobs value
  model_jobs
  if [[ $compressor == units ]]; then
    seed_of "$base_conf"
    module learn_units --ctc_dir "$ctc_dir" --data_dir "$dumpdir/train" --num_clusters "$num_clusters" --seed "$value" \
      --output_file "$centroids" --ngpu "$((ngpu > 0))"
    launch_model 1 "$compressed_dir/log/learn_units.log" "${command[@]}"
  fi
  for set in train dev test; do
    module ctc_compress --ctc_dir "$ctc_dir" --data_dir "$dumpdir/$set" --output_dir "$compressed_dir/$set" \
      --tokenizer "$tokenizer" "${compress_settings[@]}" --num_jobs "$jobs" --job JOB --ngpu "$((ngpu > 0))"
    launch_model "$jobs" "$compressed_dir/log/compress_$set.JOB.log" "${command[@]}"
    module merge_parts --data_dir "$dumpdir/$set" --output_dir "$compressed_dir/$set" --num_jobs "$jobs" --name compressed
    launch 1 "$compressed_dir/log/merge_$set.log" "${command[@]}"
  done
  module ctc_report --compressed_dir "$compressed_dir" --data_root "$dumpdir" --sets "dev test" \
    --text_name "$ctc_text" --output_dir "$compressed_dir"
  launch 1 "$compressed_dir/log/report.log" "${command[@]}"
  if ! $dry_run; then cat "$compressed_dir/report.md"; fi
}

clear_llm() { clear_shared "$llm_dir" move_aside "$llm_dir"; }
stage_llm() {
  local -a further
  if [[ -n $scratch_llm ]]; then
    module make_scratch_llm --config "$confdir/$scratch_llm.yaml" --text "$datadir/train/$target_text" --output_dir "$llm_dir"
  elif [[ -n $llm ]]; then
    module prepare_llm --llm "$llm" ${revision:+--revision "$revision"} ${token_file:+--token_file "$token_file"} \
      --output_dir "$llm_dir" --ngpu "$((ngpu > 0))"
  else
    read -ra further <<<"$llm_options"
    module train_text_llm --config "$confdir/llm.yaml" --text "$downloads/llm_text.tsv" \
      --dev_dir "$datadir/dev" --output_dir "$llm_dir" --ngpu "$((ngpu > 0))" ${seed:+--seed "$seed"} "${further[@]}"
  fi
  launch_model 1 "$llm_dir/llm.log" "${command[@]}"
  if [[ -f $llm_dir/report.md ]] && ! $dry_run; then cat "$llm_dir/report.md"; fi
}

# train_system CONF DIR ARGUMENT...: the positions of every utterance, for batches, then the training.
train_system() {
  local conf=$1 directory=$2 set side
  local -a further cache=(--ctc_dir "$ctc_dir") inputs
  shift 2
  if [[ -n $centroids ]]; then cache+=(--centroids_file "$centroids"); fi
  inputs=("${cache[@]}")
  if $trains_encoder; then
    cache=()
    inputs=(--cmvn_file "$stats_dir/cmvn.npz")
  fi
  for set in train dev; do
    module collect_llm_stats --config "$conf" --data_dir "$llm_input_dir/$set" --llm_dir "$llm_dir" --text_name "$target_text" --task "$task" \
      "${cache[@]}" --output_file "$directory/llm_stats/$set"
    launch 1 "$directory/llm_stats/$set.log" "${command[@]}"
  done
  read -ra further <<<"$train_options"
  data_arguments "$llm_input_dir" "$target_text" "$llm_input" "$directory/llm_stats/SET"
  for set in train dev; do # templates of single utterances, where the corpus has them
    if [[ -f $llm_input_dir/$set/prompt ]]; then
      side=${set/dev/valid}
      arguments+=("--${side}_data_path_and_name_and_type" "$llm_input_dir/$set/prompt,prompt,text")
    fi
  done
  trainer llm_train "$conf" --llm_dir "$llm_dir" "${inputs[@]}" --task_name "$task" "${arguments[@]}" \
    --train_data_path_and_name_and_type "$llm_input_dir/train/utt2lang,lang,text" \
    --valid_data_path_and_name_and_type "$llm_input_dir/dev/utt2lang,lang,text" \
    --output_dir "$directory" "$@" "${further[@]}"
  launch_as train 1 "$directory/train.log" "${command[@]}"
}

# average DIR OUTPUT_DIR: the best epochs of DIR -> OUTPUT_DIR/model.pth.
average() {
  module average_checkpoints --exp_dir "$1" --num_best "$num_best" --output_dir "$2"
  launch 1 "$2/average.log" "${command[@]}"
}

clear_train() { clear_shared "${init_dir:-$base_dir}" move_aside "${init_dir:-$base_dir}"; }
stage_train() {
  local -a further
  if [[ $model == seq2seq ]]; then
    read -ra further <<<"$train_options"
    train_on_features seq2seq_train "$base_conf" "$base_dir" "${further[@]}"
  else
    train_system "${init_conf:-$base_conf}" "${init_dir:-$base_dir}"
  fi
}

clear_lora() { clear_shared "$base_dir" move_aside "$base_dir"; }
stage_lora() {
  average "$init_dir" "$base_dir/init" # not into init_dir: its own stages 10 and 11 vouch for the model.pth there
  train_system "$base_conf" "$base_dir" --init_from "$base_dir/init"
}

stage_average() { average "$base_dir" "$base_dir"; }

# decode_dir DIR SET: where a set's hypotheses are, of the system in DIR.
decode_dir() { echo "$1/decode_$2_beam$beam_size"; }

# move_set_aside DIR SET: its hypotheses and those of its control.
move_set_aside() {
  local directory
  directory=$(decode_dir "$1" "$2")
  move_aside "$directory"
  move_aside "${directory}_control"
}

clear_decode() { move_set_aside "$base_dir" "$1"; }
stage_decode() {
  local set=$1 control directory jobs
  local -a further
  read -ra further <<<"$decode_options"
  model_jobs
  for control in false true; do
    directory=$(decode_dir "$base_dir" "$set")
    if $control; then directory+=_control; fi
    module decode --exp_dir "$base_dir" --data_dir "$llm_input_dir/$set" --output_dir "$directory" \
      --beam_size "$beam_size" --nbest "$beam_size" --batch_size "$batch_size" --control "$control" --ngpu "$((ngpu > 0))" \
      --num_jobs "$jobs" --job JOB "${further[@]}"
    launch_model "$jobs" "$directory/log/decode.JOB.log" "${command[@]}"
    if ((jobs == 1)); then continue; fi # a single job merges itself
    module merge_decoded --data_dir "$llm_input_dir/$set" --output_dir "$directory" --num_jobs "$jobs" --control "$control"
    launch 1 "$directory/log/merge.log" "${command[@]}"
  done
}

stage_tune() {
  module tune_rescoring --config "$system_conf" --llm_dir "$llm_dir" --decode_dir "$(decode_dir "$base_dir" dev)" \
    --data_dir "$dumpdir/dev" --task "$task" --output_file "$tuned" --ngpu "$((ngpu > 0))"
  launch_model 1 "$system_dir/log/tune_beam$beam_size.log" "${command[@]}"
}

clear_rescore() { move_set_aside "$system_dir" "$1"; }
stage_rescore() {
  local control directory
  for control in "" _control; do
    directory=$(decode_dir "$system_dir" "$1")$control
    module rescore --settings "$tuned" --decode_dir "$(decode_dir "$base_dir" "$1")$control" --data_dir "$dumpdir/$1" \
      --output_dir "$directory" --ngpu "$((ngpu > 0))"
    launch_model 1 "$directory/log/rescore.log" "${command[@]}"
  done
}

stage_score() {
  local directory
  directory=$(decode_dir "$system_dir" "$1")
  module score --hyp_dir "$directory" --control_dir "${directory}_control" --data_dir "$dumpdir/$1" --task "$task" \
    --corpus_report "$datadir/report.json"
  launch 1 "$directory/score.log" "${command[@]}"
  module write_results --exp_dir "$expdir" --title "${PWD##*/}"
  launch 1 "$expdir/log/results.log" "${command[@]}"
  if ! $dry_run; then cat "$expdir/RESULTS.md"; fi
}

stage_pack() {
  module pack --exp_dir "$system_dir" --output "$system_dir/packed.zip" --include_llm "$pack_llm"
  launch 1 "$system_dir/pack.log" "${command[@]}"
}

# corpus_language NAME: CoVoST 2's name of a language, as corpus_name of covost2_files.py has it -> language.
corpus_language() {
  language=${1//_/-}
  language=${language,,}
  case $language in
    zh | zh-cn) language=zh-CN ;;
    sv | sv-se) language=sv-SE ;;
  esac
}

# file_stamp FILE: name, bytes and time of change, for files too large for a checksum -> stamps.
file_stamp() { stamps+=" ${1##*/}:$(wc -c <"$1" | tr -d ' '):$(date -r "$1" +%s)"; }

# archive_stamps: the archives of Common Voice that stage 1 may unpack for the languages in `packed` -> stamps.
archive_stamps() {
  local file language known=" ar ca cy de en es et fa fr id it ja lv mn nl pt ru sl sv-SE ta tr zh-CN "
  for file in "$common_voice"/{,*/}*.{tar.gz,tgz}; do
    if [[ ! -f $file || ${file##*/} == covost_v2.* ]]; then continue; fi
    language=${file##*/}
    language=${language%.tgz}
    language=${language%.tar.gz}
    if [[ $language =~ (^|[-_.])([a-z]{2}([-_][A-Za-z]{2})?)$ ]]; then # otherwise only what it holds tells the language
      corpus_language "${BASH_REMATCH[2]}"
      if [[ $known == *" $language "* && " $packed " != *" $language "* ]]; then continue; fi
    fi
    file_stamp "$file"
  done
}

# corpus_files: what a corpus that the user brings is made of: its tables -> corpus; archives and pseudo-labels -> stamps.
corpus_files() {
  local lang name language folder table packed="" found wanted=$langs
  corpus=()
  stamps=""
  if [[ -z $common_voice && -z $covost2 ]]; then return 0; fi
  if [[ $data_options == *--english* ]]; then wanted+=" en"; fi
  for lang in $wanted; do
    corpus_language "$lang"
    name=$language
    found=false
    for folder in "$common_voice"/{,cv-corpus-*/}*/; do
      folder=${folder%/}
      corpus_language "${folder##*/}"
      if [[ $language != "$name" || ! -f $folder/validated.tsv ]]; then continue; fi
      found=true
      corpus+=("$folder/validated.tsv")
      if [[ $name == en && -f $folder/train.tsv ]]; then corpus+=("$folder/train.tsv"); fi
    done
    if ! $found; then packed+=" $name"; fi
    for table in {"$covost2","$covost2/$name"}/"covost_v2.${name}_en.tsv"{,.tar.gz}; do
      if [[ -f $table ]]; then corpus+=("$table"); fi
    done
  done
  if [[ -n $packed ]]; then archive_stamps; fi
  if [[ $data_options =~ --pseudo[-_]labels[=[:space:]]+([^[:space:]]+) && -f ${BASH_REMATCH[1]} ]]; then
    file_stamp "${BASH_REMATCH[1]}"
  fi
}

# recipe_files: what a corpus that the recipe makes itself is made of, where its local/data.sh can tell -> stamps.
recipe_files() {
  local file files
  local -a further
  if [[ ! -f local/data.sh ]] || ! grep -q '^print_files=' local/data.sh; then return 0; fi
  read -ra further <<<"$data_options"
  files=$(local/data.sh --langs "$langs" --downloads "$downloads" "${further[@]}" --print_files true)
  while IFS= read -r file; do
    if [[ -n $file ]]; then file_stamp "$file"; fi
  done <<<"$files"
}

# corpus_settings: where the corpora are and what else stage 1 depends on -> value.
corpus_settings() {
  local name place
  value="langs=$langs"
  for name in common_voice covost2; do
    place=${!name#"$PWD"/}
    if [[ -n $place ]]; then value+=" $name=${place%/}"; fi
  done
  value+=" data_options=$data_options${stamps:+ files=$stamps}"
}

# llm_files: what the LLM is made of -> llm_inputs.
llm_files() {
  llm_inputs=()
  if [[ -n $scratch_llm ]]; then
    llm_inputs=("$confdir/$scratch_llm.yaml" "$datadir/train/$target_text")
  elif [[ -z $llm ]]; then
    llm_inputs=("$confdir/llm.yaml" "$downloads/llm_text.tsv" "$datadir"/dev/{src_text,text,utt2lang})
  elif [[ -f $llm/config.json ]]; then
    llm_inputs=("$llm/config.json")
  fi
}

# add_training_stages: rows 8 and 9; a LoRA system starts from another system, which row 8 trains.
add_training_stages() {
  local -a confs inputs=("$llm_dir/llm.json" "$llm_input_dir"/{train,dev}/{"${llm_input%,*}",utt2lang,"$target_text"})
  local value
  seed_of "${init_conf:-$base_conf}"
  conf_files "${init_conf:-$base_conf}"
  if [[ $model == seq2seq ]]; then
    add_stage 8 train "$base_dir/.train.done" "encoder-decoder training ($base_dir)" \
      "task=$task seed=$value train_options=$train_options" "${confs[@]}" "$tokenizer" \
      "${statistics[@]}" "$dumpdir"/{train,dev}/{feats.scp,"$ctc_text"} -- "$base_dir/config.yaml"
    skip_stage 9 lora "an encoder-decoder has no LLM to adapt"
    return 0
  fi
  if $trains_encoder; then inputs+=("$stats_dir/cmvn.npz"); else inputs+=("$ctc_dir/model.pth"); fi
  if [[ -n $centroids ]]; then inputs+=("$centroids"); fi
  add_stage 8 train "${init_dir:-$base_dir}/.train.done" "audio-encoder training (${init_dir:-$base_dir})" \
    "task=$task seed=$value train_options=$train_options" "${confs[@]}" "${inputs[@]}" -- "${init_dir:-$base_dir}/config.yaml"
  if [[ -z $init_system ]]; then
    skip_stage 9 lora "${rescore_system:-$system} has no init_system, so stage 8 trains it"
    return 0
  fi
  seed_of "$base_conf"
  conf_files "$base_conf"
  add_stage 9 lora "$base_dir/.lora.done" "LoRA training ($base_dir)" \
    "task=$task seed=$value train_options=$train_options num_best=$num_best" "${confs[@]}" "${inputs[@]}" \
    "$init_dir/config.yaml" -- "$base_dir/config.yaml"
}

# add_decoding_stages: rows 10 and 11, a row a set: what one list of sets has decoded, another finds.
add_decoding_stages() {
  local set own rescored decoded=$sets
  local -a confs
  add_stage 10 average "$base_dir/.average.done" "average of the $num_best best epochs ($base_dir/model.pth)" \
    "num_best=$num_best" "$base_dir/config.yaml" -- "$base_dir/model.pth"
  if [[ -n $rescore_system && " $sets " != *" dev "* ]]; then decoded+=" dev"; fi
  for set in $decoded; do
    own=$(decode_dir "$base_dir" "$set")
    add_stage 11 "decode:$set" "$base_dir/.decode_${set}_beam$beam_size.done" "decoding of $set, and its control ($own)" \
      "decode_options=$decode_options" "$base_dir/model.pth" -- "$own"{,_control}/{text,nbest.jsonl}
  done
  if [[ -z $rescore_system ]]; then return 0; fi
  conf_files "$system_conf"
  add_stage 11 tune "$system_dir/.tune_beam$beam_size.done" "weight of the LLM's score ($tuned)" "" "${confs[@]}" \
    "$llm_dir/llm.json" "$(decode_dir "$base_dir" dev)/nbest.jsonl" -- "$tuned"
  for set in $sets; do
    own=$(decode_dir "$base_dir" "$set")
    rescored=$(decode_dir "$system_dir" "$set")
    add_stage 11 "rescore:$set" "$system_dir/.rescore_${set}_beam$beam_size.done" \
      "rescoring of $set, and its control ($rescored)" "" "$tuned" "$own"{,_control}/nbest.jsonl -- \
      "$rescored"{,_control}/text
  done
}

# stage_table: number, name (its function is stage_NAME), marker, title, settings; what it reads -- what it writes.
stage_table() {
  local -a confs corpus llm_inputs data features optional=() statistics=("$stats_dir"/{cmvn.npz,{train,dev}/speech_shape})
  local set table decoded stamps value
  corpus_files
  recipe_files
  corpus_settings
  llm_files
  data=("$datadir"/{train,dev,test}/{wav.scp,text,src_text,utt2lang})
  if [[ -z $llm && -f $confdir/llm.yaml ]]; then data+=("$downloads/llm_text.tsv"); fi
  features=("$dumpdir"/{train,dev,test}/{feats.scp,text,src_text,utt2lang})
  for table in "$datadir"/{train,dev,test}/{segments,prompt}; do
    if [[ -f $table ]]; then optional+=("$table"); fi
  done

  conf_files "$base_conf"
  if [[ -n $rescore_system ]]; then confs+=("$system_conf"); fi
  check_stage 0 preflight "what can be checked before hours are spent ($preflight_dir)" "${confs[@]}" "$confdir/ctc.yaml"
  add_stage 1 data "$datadir/.data.done" "corpus and data directories ($datadir)" \
    "$value" "${corpus[@]}" -- "${data[@]}"
  add_stage 2 features "$dumpdir/.features.done" "log-mel features ($dumpdir)" "" \
    "$datadir"/{train,dev,test}/{wav.scp,text,src_text,utt2lang} "${optional[@]}" -- "${features[@]}"
  add_stage 3 tokenizer "${tokenizer%/*}/.tokenizer.done" "${units_prefix:+encoder-decoder and }CTC units ($tokenizer)" "" \
    "$datadir/train/$ctc_text" -- "$tokenizer"
  add_stage 4 statistics "$stats_dir/.statistics.done" "mean, variance and lengths ($stats_dir)" "" \
    "$tokenizer" "$dumpdir"/{train,dev}/{feats.scp,"$ctc_text"} -- "${statistics[@]}"
  if [[ $model == seq2seq ]]; then
    skip_stage 5 ctc "the encoder-decoder trains its CTC head along with the rest"
    skip_stage 6 compress "an encoder-decoder trains from features"
  elif $trains_encoder; then
    skip_stage 5 ctc "the encoder of $system learns with the LLM's loss"
    skip_stage 6 compress "$system trains from features"
  else
    seed_of "$confdir/ctc.yaml"
    conf_files "$confdir/ctc.yaml"
    add_stage 5 ctc "$ctc_dir/.ctc.done" "CTC training ($ctc_dir)" \
      "seed=$value num_best=$ctc_num_best ctc_options=$ctc_options" "${confs[@]}" "$tokenizer" \
      "${statistics[@]}" "$dumpdir"/{train,dev}/{feats.scp,"$ctc_text"} -- "$ctc_dir/model.pth"
    data=("$compressed_dir"/{train,dev,test}/{compressed.scp,utt2lang,text,src_text} ${centroids:+"$centroids"})
    add_stage 6 compress "$compressed_dir/.compress.done" "CTC report and compressed features ($compressed_dir)" \
      "" \
      "$ctc_dir/model.pth" "$tokenizer" "${features[@]}" -- "${data[@]}" "$compressed_dir/report.json"
  fi
  local llm_settings="llm=$llm revision=$revision llm_options=$llm_options"
  if [[ -n $scratch_llm ]]; then llm_settings=""; fi
  if $needs_llm; then
    add_stage 7 llm "$llm_dir/.llm.done" "LLM ($llm_dir)" "$llm_settings" "${llm_inputs[@]}" -- "$llm_dir/llm.json"
  else
    skip_stage 7 llm "$system has no LLM"
  fi
  add_training_stages
  add_decoding_stages
  for set in $sets; do
    decoded=$(decode_dir "$system_dir" "$set")
    add_stage 12 "score:$set" "$system_dir/.score_${set}_beam$beam_size.done" "scores of $set ($expdir/RESULTS.md)" "" \
      "$decoded/text" -- "$decoded/score.json"
  done
  if [[ $model == seq2seq || -n $rescore_system ]]; then
    skip_stage 13 pack "only speech LLMs are packed"
    return 0
  fi
  add_stage 13 pack "$system_dir/.pack.done" "model in one file ($system_dir/packed.zip)" "pack_llm=$pack_llm" \
    "$system_dir/model.pth" -- "$system_dir/packed.zip"
}

# print_directories: where this system and what it stands on lie, "name path" a line; what it does without has no path.
print_directories() {
  local scored=${sets##* } ctc="" compressed="" llm_record=$llm_dir
  if [[ " $sets " == *" test "* ]]; then scored="test"; fi
  if ! $trains_encoder && [[ $model != seq2seq ]]; then
    ctc=$ctc_dir
    compressed=$compressed_dir
  fi
  if ! $needs_llm; then llm_record=""; fi
  printf '%s %s\n' expdir "$expdir" system_dir "$system_dir" base_dir "$base_dir" init_dir "$init_dir" \
    ctc_dir "$ctc" compressed_dir "$compressed" llm_dir "$llm_record" decode_dir "$(decode_dir "$system_dir" "$scored")" \
    score_data_dir "$dumpdir/$scored"
}

# hold MODE DIR: lock a directory for this run, exclusive or shared with others that only read it; refuse where that fails.
hold() {
  local status=0 lock=$2/.run.lock fd=${run_locks[$2]:-}
  if ! command -v flock >/dev/null; then return 0; fi
  if [[ -z $fd ]]; then
    mkdir -p "$2"
    exec {fd}<>"$lock"
    run_locks[$2]=$fd
  fi
  flock "--$1" --nonblock --conflict-exit-code 99 "$fd" || status=$?
  if ((status == 99)); then
    echo "$PWD/$2: another run is at work there ($(tail -n 1 "$lock"));" \
      "wait for it, end it, or give this one a directory of its own with --tag" >&2
    exit 1
  fi
  echo "host $(hostname), process $$, since $(date '+%F %T')" >"$lock"
}

# clear_shared DIR COMMAND...: take away what other settings had made, unless another run reads it just now.
clear_shared() {
  local directory=$1
  shift
  hold exclusive "$directory"
  "$@"
  if [[ $directory != "$system_dir" ]]; then hold shared "$directory"; fi
}

# lock_run: a second run with the same experiment directory is refused. What runs of several systems share they hold together,
# and wait where they share a stage; but none may move away what another one reads.
# Its jobs do not hold the lock: if this shell alone is killed, the next run waits for them where their stage is.
lock_run() {
  local directory
  local -a read=("$dumpdir" ${init_dir:+"$init_dir"})
  if $list || $dry_run; then return 0; fi
  if $needs_llm; then read+=("$llm_dir"); fi
  if ! $trains_encoder && [[ $model != seq2seq ]]; then read+=("$ctc_dir"); fi
  if [[ $base_dir != "$system_dir" ]]; then read+=("$base_dir"); fi
  hold exclusive "$system_dir"
  for directory in "${read[@]}"; do hold shared "$directory"; done
}

# prepare_run: the environment, before the first stage that runs.
prepare_run() { . "$root/egs/TEMPLATE/path.sh"; }

# speech_llama SETTING... -- ARGUMENT...: the recipe of the script that calls this.
speech_llama() {
  local -a settings=()
  while [[ $1 != -- ]]; do
    settings+=("$1")
    shift
  done
  shift
  recipe=$(cd "$(dirname "$0")" && pwd)
  resume_command=("$0" "$@")
  parse_options "${BASH_SOURCE[0]}" "${settings[@]}" "$@"
  refuse_positional
  if $help; then
    print_header "$0"
    print_options "${BASH_SOURCE[0]}"
    exit 0
  fi
  absolute_inputs
  cd "$recipe" || exit 1
  if [[ -z $cmd ]]; then
    cmd=$root/egs/TEMPLATE/cmd.sh
    if [[ -f cmd.sh ]]; then cmd=$PWD/cmd.sh; fi
  elif [[ ! -f $cmd ]]; then
    wrong_usage "--cmd '$cmd' is no file"
  fi
  # shellcheck source=cmd.sh
  . "$cmd"
  check_options
  default_corpora
  derive_names
  if $print_dirs; then
    print_directories
    exit 0
  fi
  if $needs_llm && [[ -z $llm$scratch_llm && ! -f $confdir/llm.yaml ]] && ! $list && ((stop_stage >= 7)); then
    wrong_usage "--llm is needed from stage 7 on: $confdir has no llm.yaml to train one with"
  fi
  stage_table
  lock_run
  dry_run_status=0
  run_stages
  exit "$dry_run_status"
}
